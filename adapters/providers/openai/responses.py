"""OpenAI's own Responses API: what it answers passes through as it came."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from adapters.providers.openai.foreign import without_foreign
from adapters.providers.sse import END_MARK
from adapters.providers.vocabulary import ErrorInAnswer
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Reply, ReplyPiece, Usage

FINISH_REASONS = {"max_output_tokens": "length", "max_messages": "length", "content_filter": "content_filter"}
CALLS = frozenset({"function_call", "custom_tool_call"})
DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
    }
)
CREATED = "response.created"
CLOSINGS = frozenset({"response.completed", "response.incomplete"})
FAILURES = frozenset({"response.failed", "response.cancelled"})
NOT_READABLE = "The provider's answer is not a response."
FAILED = "The provider failed to answer."

_NOTHING = msgspec.Raw()
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Totals below zero or beyond reason are no report; parts are cut to their total."""

    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    model: str | None = None
    status: str | None = None
    error: msgspec.Raw = _NOTHING
    incomplete_details: _Incomplete | None = None
    output: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = _NOTHING


class _Kind(msgspec.Struct):
    type: str = ""


class _Text(msgspec.Struct):
    text: str | None = None
    refusal: str | None = None


class _Message(msgspec.Struct):
    content: list[_Text] | None = None


class _Reasoning(msgspec.Struct):
    summary: list[_Text] | None = None
    content: list[_Text] | None = None


class _Call(msgspec.Struct):
    arguments: str | None = None
    input: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: msgspec.Raw = _NOTHING
    response: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_delta = msgspec.json.Decoder(str).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_reasoning = msgspec.json.Decoder(_Reasoning).decode
_decode_call = msgspec.json.Decoder(_Call).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


class ResponsesPassthrough:
    """Implements `Passthrough`. Nothing is kept at the provider."""

    path = "/responses"

    def request_body(self, call: ProviderCall) -> bytes:
        members = {name: value for name, value in call.members.items() if bytes(value) != b"null"}
        members["model"] = msgspec.Raw(msgspec.json.encode(call.upstream_model))
        members["store"] = msgspec.Raw(b"false")
        if asked := members.get("input"):
            members["input"] = without_foreign(asked)
        return msgspec.json.encode(members)

    def reply(self, body: bytes, call: ProviderCall) -> Reply:
        """Raises ErrorInAnswer, whatever the bytes are."""
        response = _succeeded(body)
        if response.output is None or response.status not in (None, "completed", "incomplete"):
            raise ErrorInAnswer(NOT_READABLE)
        kinds = _kinds(response)
        return Reply(
            body=body,
            model=response.model or call.upstream_model,
            finish_reason=_finish_reason(response, kinds),
            usage=_usage(response.usage),
            output_chars=_output_chars(response.output or (), kinds),
        )

    def reader(self, call: ProviderCall) -> "ResponsesReader":
        return ResponsesReader()


class ResponsesReader:
    """Of one stream: only the event that says that all is well is held back."""

    def __init__(self) -> None:
        self.ended = False

    def read(self, data: bytes) -> ReplyPiece:
        """Raises ErrorInAnswer, whatever the bytes are."""
        if self.ended or data == END_MARK:
            return ReplyPiece(b"")
        try:
            str(data, "utf-8")
            event = _decode_event(data)
            if event.type in DELTAS:
                return ReplyPiece(_framed(event.type, data), len(_decode_delta(event.delta)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ErrorInAnswer(NOT_READABLE) from None
        if event.type == "error" or not _is_nothing(event.error):
            raise _failure(data if _is_nothing(event.error) else event.error)
        if event.type in FAILURES:
            raise _failure(_decoded_response(event.response).error)
        if event.type in CLOSINGS:
            return self._closing(event, data)
        model = _decoded_response(event.response).model if event.type == CREATED else None
        return ReplyPiece(_framed(event.type, data), model=model or "")

    def _closing(self, event: _Event, data: bytes) -> ReplyPiece:
        response = _succeeded(event.response)
        self.ended = True
        return ReplyPiece(
            data=b"",
            model=response.model or "",
            finish_reason=_finish_reason(response, _kinds(response)),
            usage=_usage(response.usage),
            closing=_framed(event.type, data),
        )


def _framed(kind: str, data: bytes) -> bytes:
    """A kind of more than one line is none."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    if kind.isprintable() and kind:
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
    return b"data: %b\n\n" % data


def _decoded_response(body: bytes | msgspec.Raw) -> _Response:
    try:
        str(body, "utf-8")
        return _decode_response(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ErrorInAnswer(NOT_READABLE) from None


def _succeeded(body: bytes | msgspec.Raw) -> _Response:
    response = _decoded_response(body)
    if not _is_nothing(response.error) or response.status == "failed":
        raise _failure(response.error)
    return response


def _failure(error: bytes | msgspec.Raw) -> ErrorInAnswer:
    try:
        said = _decode_error(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorInAnswer(FAILED)
    code = None if said.code is None else str(said.code)
    return ErrorInAnswer(said.message or FAILED, error_type=None if said.type == "error" else said.type, code=code)


def _is_nothing(raw: msgspec.Raw) -> bool:
    return bytes(raw) in (b"", b"null")


def _finish_reason(response: _Response, kinds: Sequence[str]) -> str:
    """In the words of a chat completion."""
    reason = response.incomplete_details and response.incomplete_details.reason
    if reason or response.status == "incomplete":
        return FINISH_REASONS.get(reason or "max_output_tokens", "stop")
    return "tool_calls" if CALLS.intersection(kinds) else "stop"


def _kinds(response: _Response) -> list[str]:
    try:
        return [_decode_kind(item).type for item in response.output or ()]
    except msgspec.DecodeError:
        raise ErrorInAnswer(NOT_READABLE) from None


def _output_chars(output: Sequence[msgspec.Raw], kinds: Sequence[str]) -> int:
    try:
        return sum(_item_chars(kind, item) for kind, item in zip(kinds, output, strict=True))
    except msgspec.DecodeError:
        raise ErrorInAnswer(NOT_READABLE) from None


def _item_chars(kind: str, item: msgspec.Raw) -> int:
    if kind == "message":
        return _chars(_decode_message(item).content)
    if kind == "reasoning":
        reasoning = _decode_reasoning(item)
        return _chars(reasoning.summary) + _chars(reasoning.content)
    if kind in CALLS:
        call = _decode_call(item)
        return len(call.arguments or call.input or "")
    return 0


def _chars(texts: Sequence[_Text] | None) -> int:
    return sum(len(part.text or part.refusal or "") for part in texts or ())


def _usage(raw: msgspec.Raw) -> Usage | None:
    """OpenAI counts cached and cache-writing input inside `input_tokens`, reasoning inside `output_tokens`."""
    if _is_nothing(raw):
        return None
    try:
        usage = _decode_usage(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    inputs = usage.input_tokens_details or _InputDetails()
    outputs = usage.output_tokens_details or _OutputDetails()
    total_input, total_output = usage.input_tokens or 0, usage.output_tokens or 0
    cached = _part(inputs.cached_tokens, total_input)
    written = _part(inputs.cache_write_tokens, total_input - cached)
    reasoning = _part(outputs.reasoning_tokens, total_output)
    tokens = Tokens(
        input=total_input - cached - written,
        cached_input=cached,
        cache_write_5m=written,
        output=total_output - reasoning,
        reasoning=reasoning,
    )
    return Usage(raw.copy(), tokens)


def _part(count: int | None, total: int) -> int:
    return min(max(count or 0, 0), total)
