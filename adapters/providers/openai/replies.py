"""Answers of OpenAI's chat completions, and of what speaks it, as neutral events."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from adapters.providers.openai.completion import Completion, CompletionChoice, decoded, usage_in
from adapters.providers.openai.errors import error_inside
from adapters.providers.openai.tool_calls import FunctionCall, ToolCall, ToolCalls
from adapters.providers.sse import END_MARK
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import (
    AnswerEvent,
    Citation,
    Finished,
    FinishReason,
    Logprobs,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    Used,
)

_WHAT = "a chat completion"
_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_FAILED = frozenset({"error", "insufficient_system_resource"})
"""How Mistral, OpenRouter and DeepSeek say that they broke off."""


class _ContentPart(msgspec.Struct, gc=False):
    """Mistral splits a content into texts and thoughts where its model thinks."""

    text: str | None = None
    thinking: "list[_ContentPart] | None" = None


class _Link(msgspec.Struct, gc=False):
    url: str | None = None
    title: str | None = None


class _Annotation(msgspec.Struct, gc=False):
    url_citation: _Link | None = None


class _Message(msgspec.Struct, gc=False):
    """A whole message, or the delta of one. OpenRouter and Groq call `reasoning` what others call
    `reasoning_content`; some send both."""

    content: str | list[_ContentPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    annotations: list[msgspec.Raw] | None = None


class _Token(msgspec.Struct, gc=False):
    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top_logprobs: "list[_Token] | None" = None


class _Logprobs(msgspec.Struct, gc=False):
    content: list[_Token] | None = None
    refusal: list[_Token] | None = None


class _Choice(CompletionChoice, gc=False):
    index: Annotated[int, msgspec.Meta(ge=0)] | None = None
    delta: _Message | None = None
    message: _Message | None = None
    logprobs: _Logprobs | None = None


_decode = msgspec.json.Decoder(Completion[_Choice]).decode
_decode_annotation = msgspec.json.Decoder(_Annotation).decode


def read_whole(body: bytes) -> list[AnswerEvent]:
    """Raises ErrorInAnswer, also where there is no choice."""
    answer = decoded(_decode, body, _WHAT)
    if not answer.choices:
        raise error_inside(body, _WHAT)
    events: list[AnswerEvent] = [Started(answer.id or "", answer.model or "")]
    for position, choice in enumerate(answer.choices):
        number = position if choice.index is None else choice.index
        reader = _ChoiceReader(number)
        if (message := choice.message) is not None:
            reader.read_message(message, events)
            for call in message.tool_calls or ():
                events += reader.tools.read_whole(call)
        reader.read_end(choice, events)
        reader.close(events)
    if usage := usage_in(answer):
        events.append(Used(usage))
    return events


class ChatStreamReader:
    """A stream is complete at its `[DONE]`: whatever stops before was cut, also after a finish reason."""

    def __init__(self) -> None:
        self.ended = False
        self._started = False
        self._choices: dict[int, _ChoiceReader] = {}

    def read(self, data: bytes) -> Sequence[AnswerEvent]:
        events: list[AnswerEvent] = []
        if data == END_MARK:
            self.ended = True
            for reader in self._choices.values():
                reader.close(events)
            return events
        chunk = decoded(_decode, data, _WHAT)
        usage = usage_in(chunk)
        if chunk.choices is None and usage is None:
            raise error_inside(data, _WHAT)
        if not self._started and (chunk.id or chunk.model or chunk.choices):
            self._started = True
            events.append(Started(chunk.id or "", chunk.model or ""))
        for choice in chunk.choices or ():
            self._read_choice(choice, events)
        if usage is not None:
            events.append(Used(usage))
        return events

    def _read_choice(self, choice: _Choice, events: list[AnswerEvent]) -> None:
        number = choice.index or 0
        reader = self._choices.get(number)
        if reader is None:
            reader = self._choices[number] = _ChoiceReader(number)
        if (delta := choice.delta) is not None:
            reader.read_message(delta, events)
            for call in delta.tool_calls or ():
                events += reader.tools.read(call)
        reader.read_end(choice, events)


class _ChoiceReader:
    def __init__(self, number: int) -> None:
        self.tools = ToolCalls(number)
        self._number = number
        self._finished = False

    def read_message(self, message: _Message, events: list[AnswerEvent]) -> None:
        """All but `tool_calls`, which differ between a stream and a whole."""
        if thoughts := message.reasoning_content or message.reasoning:
            events.append(ThinkingDelta(thoughts, self._number))
        if isinstance(message.content, str):
            if message.content:
                events.append(TextDelta(message.content, self._number))
        elif message.content is not None:
            self._read_parts(message.content, events)
        if message.refusal:
            events.append(RefusalDelta(message.refusal, self._number))
        if message.function_call is not None:
            events += self.tools.read(ToolCall(index=0, function=message.function_call))
        for annotation in message.annotations or ():
            events.append(_citation(annotation, self._number))

    def _read_parts(self, parts: list[_ContentPart], events: list[AnswerEvent]) -> None:
        for part in parts:
            for thought in part.thinking or ():
                if thought.text:
                    events.append(ThinkingDelta(thought.text, self._number))
            if part.text:
                events.append(TextDelta(part.text, self._number))

    def read_end(self, choice: _Choice, events: list[AnswerEvent]) -> None:
        """What stands beside the message. Raises ErrorInAnswer where the provider broke off."""
        if (logprobs := choice.logprobs) is not None:
            tokens = [_token(token) for token in (*(logprobs.content or ()), *(logprobs.refusal or ()))]
            if tokens:
                events.append(Logprobs(tuple(tokens), self._number))
        if (reason := choice.finish_reason) is not None:
            if reason in _FAILED:
                raise ErrorInAnswer("The provider broke off its answer.", error_type=reason)
            self._finish(_FINISH.get(reason, "stop"), events)

    def close(self, events: list[AnswerEvent]) -> None:
        """Finishes what the provider did not."""
        self._finish("stop", events)

    def _finish(self, reason: FinishReason, events: list[AnswerEvent]) -> None:
        """Once: OpenRouter says it again beside the usage. A `stop` with tool calls (forced ones) is for these."""
        if not self._finished:
            self._finished = True
            calls_tools = reason == "stop" and self.tools.count > 0
            events.append(Finished("tool_calls" if calls_tools else reason, self._number))


def _citation(raw: msgspec.Raw, choice: int) -> Citation:
    """Raises ErrorInAnswer for text that is not UTF-8, which the frame's decoder passes over."""
    try:
        bytes(raw).decode()
        link = _decode_annotation(raw).url_citation or _Link()
    except UnicodeDecodeError:
        raise ErrorInAnswer("The provider's answer is not UTF-8.") from None
    except (msgspec.DecodeError, RecursionError):
        link = _Link()
    return Citation(raw.copy(), choice, link.url, link.title)


def _token(token: _Token) -> TokenLogprob:
    top = tuple(_token(other) for other in token.top_logprobs or ())
    return TokenLogprob(token.token, token.logprob, token.bytes, top)
