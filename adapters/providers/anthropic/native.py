"""Anthropic's own format passed through: bytes go out as they came, and are only looked at for the account."""

from typing import Annotated

import msgspec

from adapters.providers.anthropic.errors import read_error
from adapters.providers.anthropic.foreign import without_foreign
from adapters.providers.anthropic.usage import overlaid, usage_of
from adapters.providers.vocabulary import UNREADABLE, ErrorInAnswer
from domain.answer import FinishReason
from domain.upstream import ProviderCall, Reply, ReplyPiece

FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
}
NOT_READABLE = "The provider's answer is not a message."


class _Block(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    """A whole one, or the beginning of one."""

    content: list[_Block] | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct):
    type: str


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0, le=10**9)]


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_count = msgspec.json.Decoder(_Count).decode

_READ = "message_start content_block_start content_block_delta content_block_stop message_delta message_stop".split()
_HEADS = {name: f"event: {name}\ndata: ".encode() for name in [*_READ, "ping"]}


class MessagesPassthrough:
    path = "/v1/messages"

    def request_body(self, call: ProviderCall) -> bytes:
        """What the client sent, for the upstream model. Nulls say nothing and stay out; so does what another vendor's
        model said in a way that is its own."""
        return msgspec.json.encode(_members(call))

    def reply(self, body: bytes, call: ProviderCall) -> Reply:
        """Raises ErrorInAnswer."""
        try:
            str(body, "utf-8")
            message = _decode_message(body)
        except UNREADABLE:
            raise _failure(body) from None
        if message.content is None or bytes(message.error) not in (b"", b"null"):
            raise _failure(body)
        return Reply(
            body=body,
            model=message.model or call.upstream_model,
            finish_reason=_finish_reason(message.stop_reason) or "stop",
            usage=usage_of(message.usage),
            output_chars=sum(_block_chars(block) for block in message.content),
        )

    def reader(self, call: ProviderCall) -> "MessagesReader":
        return MessagesReader()


class MessagesReader:
    """Of one streamed answer."""

    def __init__(self) -> None:
        self.ended = False
        self._usage = msgspec.Raw()

    def read(self, data: bytes) -> ReplyPiece:
        """The event as it is; the last one, which says that all is well, as `closing`. Raises ErrorInAnswer."""
        event = _decoded(data)
        if event.type == "content_block_delta":
            delta = event.delta
            if delta is None:
                raise ErrorInAnswer(NOT_READABLE)
            text = delta.text or delta.thinking or delta.partial_json or ""
            return ReplyPiece(_framed("content_block_delta", data), len(text))
        if event.type == "error":
            raise _failure(data)
        return self._measured(event, _framed(event.type, data))

    def _measured(self, event: _Event, framed: bytes) -> ReplyPiece:
        match event.type:
            case "message_start" if event.message is not None:
                self._usage = event.message.usage.copy()
                return ReplyPiece(framed, model=event.message.model or "", usage=usage_of(self._usage))
            case "content_block_start" if event.content_block is not None:
                return ReplyPiece(framed, _block_chars(event.content_block))
            case "message_delta":
                self._usage = overlaid(self._usage, event.usage)
                stop_reason = event.delta.stop_reason if event.delta else None
                return ReplyPiece(framed, finish_reason=_finish_reason(stop_reason), usage=usage_of(self._usage))
            case "message_stop":
                self.ended = True
                return ReplyPiece(b"", closing=framed)
            case _:
                return ReplyPiece(framed)


class CountTokensPassthrough:
    path = "/v1/messages/count_tokens"

    def request_body(self, call: ProviderCall) -> bytes:
        return msgspec.json.encode(_members(call))

    def request(self, call: ProviderCall) -> tuple[str, bytes]:
        """Path and body."""
        return self.path, self.request_body(call)

    def read(self, body: bytes) -> int:
        """The input's tokens. Raises ErrorInAnswer."""
        try:
            return _decode_count(body).input_tokens
        except UNREADABLE:
            raise _failure(body) from None


def _members(call: ProviderCall) -> dict[str, msgspec.Raw]:
    members = {name: raw for name, raw in call.members.items() if len(raw) != 4 or bytes(raw) != b"null"}
    members["model"] = msgspec.Raw(msgspec.json.encode(call.upstream_model))
    members["messages"] = without_foreign(members["messages"])
    return members


def _decoded(data: bytes) -> _Event:
    """Events that are not known may look like anything."""
    try:
        str(data, "utf-8")
        return _decode_event(data)
    except msgspec.ValidationError:
        return _unknown(data)
    except UNREADABLE:
        raise ErrorInAnswer(NOT_READABLE) from None


def _unknown(data: bytes) -> _Event:
    try:
        named = _decode_named(data)
    except UNREADABLE:
        raise _failure(data) from None
    if named.type in _READ:
        raise ErrorInAnswer(NOT_READABLE)
    return _Event(type=named.type)


def _framed(kind: str, data: bytes) -> bytes:
    """A line break can only stand between the tokens of JSON: the client's own parser would take it for an end."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    head = _HEADS.get(kind)
    if head is None:
        head = f"event: {kind}\ndata: ".encode() if kind.isidentifier() else b"data: "
    return head + data + b"\n\n"


def _failure(data: bytes) -> ErrorInAnswer:
    error = read_error(data)
    if error is None:
        return ErrorInAnswer(NOT_READABLE)
    return ErrorInAnswer(error.message, error_type=error.error_type, code=error.code)


def _finish_reason(stop_reason: str | None) -> FinishReason | None:
    return FINISH_REASONS.get(stop_reason, "stop") if stop_reason else None


def _block_chars(block: _Block) -> int:
    has_input = bool(block.input) and bytes(block.input) != b"{}"
    return len(block.text or "") + len(block.thinking or "") + len(block.name or "") + has_input * len(block.input)
