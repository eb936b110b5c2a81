"""Clients that speak OpenAI's chat or text completions, served by a provider that does: the answer passes as it is."""

from collections.abc import Sequence

import msgspec

from adapters.providers.openai.completion import NO_RAW, Completion, CompletionChoice, decoded, usage_in
from adapters.providers.openai.errors import error_inside
from adapters.providers.openai.foreign import without_foreign
from adapters.providers.sse import END_MARK
from domain.errors import InvalidInput
from domain.upstream import ProviderCall, Reply, ReplyPiece

_CLOSING = b"data: " + END_MARK + b"\n\n"
_NOTHING = (b"", b"null", b"[]")


class _ContentPart(msgspec.Struct, gc=False):
    """Mistral splits a content into texts and thoughts where its model thinks."""

    text: str | None = None
    thinking: msgspec.Raw = NO_RAW


class _Message(msgspec.Struct, gc=False):
    """A whole message, or the delta of one. OpenRouter and Groq call `reasoning` what others call
    `reasoning_content`; some send both."""

    content: str | list[_ContentPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: msgspec.Raw = NO_RAW
    function_call: msgspec.Raw = NO_RAW


class _Choice(CompletionChoice, gc=False):
    """Of a chat (`message`, or `delta` in a stream) or of a text completion (`text`)."""

    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None


_decode_answer = msgspec.json.Decoder(Completion[_Choice]).decode


class _Completions:
    """`own_only`: it refuses members it does not know, such as what other vendors' models left in a conversation."""

    path: str
    _what: str

    def __init__(self, *, own_only: bool = False) -> None:
        self._own_only = own_only

    def request_body(self, call: ProviderCall) -> bytes:
        """What the client asked, for the upstream model; a stream always reports usage. Nulls say nothing and stay
        out."""
        members = {name: value for name, value in call.members.items() if bytes(value) != b"null"}
        members["model"] = msgspec.Raw(msgspec.json.encode(call.upstream_model))
        if self._own_only and (messages := members.get("messages")):
            members["messages"] = without_foreign(messages)
        if call.stream:
            members["stream_options"] = with_usage(members.get("stream_options"))
        return msgspec.json.encode(members)

    def reply(self, body: bytes, call: ProviderCall) -> Reply:
        """Raises ErrorInAnswer, also where there is no choice."""
        answer = decoded(_decode_answer, body, self._what)
        if not answer.choices:
            raise error_inside(body, self._what)
        return Reply(
            body=body,
            model=answer.model or call.upstream_model,
            finish_reason=answer.choices[0].finish_reason or "stop",
            usage=usage_in(answer),
            output_chars=_output_chars(answer.choices),
        )

    def reader(self, call: ProviderCall) -> "CompletionsReader":
        return CompletionsReader(self._what, include_usage=call.include_usage)


class ChatPassthrough(_Completions):
    path = "/chat/completions"
    _what = "a chat completion"


class CompletionsPassthrough(_Completions):
    path = "/completions"
    _what = "a text completion"


class CompletionsReader:
    """The usage chunk, which is always asked for, stays out unless the client asked for it too."""

    def __init__(self, what: str, *, include_usage: bool) -> None:
        self.ended = False
        self._what = what
        self._include_usage = include_usage

    def read(self, data: bytes) -> ReplyPiece:
        if data == END_MARK:
            self.ended = True
            return ReplyPiece(b"", closing=_CLOSING)
        chunk = decoded(_decode_answer, data, self._what)
        choices, usage = chunk.choices, usage_in(chunk)
        if choices is None and usage is None:
            raise error_inside(data, self._what)
        if not choices:
            passes = usage is None or self._include_usage
            return ReplyPiece(_event(data) if passes else b"", model=chunk.model or "", usage=usage)
        finish = next((choice.finish_reason for choice in choices if choice.finish_reason), None)
        return ReplyPiece(_event(data), _output_chars(choices), chunk.model or "", finish, usage)


def with_usage(stream_options: msgspec.Raw | None) -> msgspec.Raw:
    """The client's `stream_options`, if any, that ask for usage. Raises InvalidInput if they are no object."""
    try:
        options = msgspec.json.decode(stream_options or b"{}", type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        raise InvalidInput("stream_options must be an object.", field="stream_options") from None
    options["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(options))


def _event(data: bytes) -> bytes:
    return b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


def _output_chars(choices: Sequence[_Choice]) -> int:
    count = 0
    for choice in choices:
        if choice.text is not None:
            count += len(choice.text)
        elif (message := choice.delta or choice.message) is not None:
            count += _message_chars(message)
    return count


def _message_chars(message: _Message) -> int:
    content = message.content
    count = len(message.refusal or "") + len(message.reasoning_content or message.reasoning or "")
    if isinstance(content, str):
        count += len(content)
    elif content is not None:
        count += sum(len(part.text or "") + len(part.thinking) for part in content)
    for calls in (message.tool_calls, message.function_call):
        if calls and bytes(calls) not in _NOTHING:
            count += len(calls)
    return count
