"""A streamed answer of Cohere, as events."""

from collections.abc import Sequence

import msgspec

from adapters.providers.cohere.errors import decoded, error_in, failure_of
from adapters.providers.cohere.usage import usage_of
from adapters.providers.cohere.wire import (
    ChunkLogprobs,
    Content,
    ToolCall,
    citation_of,
    content_deltas,
    finished,
    logprobs_of,
    tool_started,
)
from adapters.providers.sse import END_MARK
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import AnswerEvent, Started, TextDelta, ToolArguments, Used


class _Message(msgspec.Struct):
    """Of a start all members are lists, and empty; of a delta one is there, and is one thing."""

    content: Content | list[msgspec.Raw] | None = None
    tool_plan: str | None = None
    tool_calls: ToolCall | list[msgspec.Raw] | None = None
    citations: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: str | None = None
    error_type: str | None = None


class _Event(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    logprobs: ChunkLogprobs | list[ChunkLogprobs] | None = None


_decode = msgspec.json.Decoder(_Event).decode
_NO_DELTA = _Delta()
_NO_MESSAGE = _Message()


class CohereReader:
    def __init__(self) -> None:
        self._ended = False
        self._calls: dict[int | None, int] = {}
        self._called = 0
        self._with_arguments: set[int] = set()

    @property
    def ended(self) -> bool:
        return self._ended

    def read(self, data: bytes) -> Sequence[AnswerEvent]:
        if data == END_MARK:
            return ()
        event = decoded(data, _decode)
        if event.type is None:
            raise error_in(data)
        delta = event.delta or _NO_DELTA
        message = delta.message or _NO_MESSAGE
        match event.type:
            case "content-delta" | "content-start":
                return self._content(message, event.logprobs)
            case "tool-call-delta" | "tool-call-start" | "tool-call-end":
                return self._tool_call(event, message)
            case "tool-plan-delta":
                return (TextDelta(message.tool_plan),) if message.tool_plan else ()
            case "citation-start":
                return () if bytes(message.citations) in (b"", b"null", b"[]") else (citation_of(message.citations),)
            case "message-start":
                return (Started(event.id or ""),)
            case "message-end":
                return self._end(delta)
            case _:
                return ()

    def _content(
        self, message: _Message, logprobs: ChunkLogprobs | list[ChunkLogprobs] | None
    ) -> Sequence[AnswerEvent]:
        events: list[AnswerEvent] = []
        if isinstance(message.content, Content):
            events += content_deltas(message.content)
        if logprobs is not None:
            events += logprobs_of(logprobs if isinstance(logprobs, list) else [logprobs])
        return events

    def _tool_call(self, event: _Event, message: _Message) -> Sequence[AnswerEvent]:
        events: list[AnswerEvent] = []
        call = message.tool_calls if isinstance(message.tool_calls, ToolCall) else ToolCall()
        if event.type == "tool-call-start":
            self._calls[event.index] = self._called
            events.append(tool_started(self._called, call))
            self._called += 1
        number = self._calls.get(event.index)
        if number is None:
            raise ErrorInAnswer("Cohere went on with a tool call that it never began.")
        arguments = call.arguments
        if event.type == "tool-call-end" and number not in self._with_arguments:
            arguments = "{}"
        if arguments:
            self._with_arguments.add(number)
            events.append(ToolArguments(number, arguments))
        return events

    def _end(self, delta: _Delta) -> Sequence[AnswerEvent]:
        if failure := failure_of(delta.finish_reason, delta.error, delta.error_type):
            raise failure
        self._ended = True
        end = finished(delta.finish_reason, called_tools=self._called > 0)
        usage = usage_of(delta.usage)
        return (end, Used(usage)) if usage else (end,)
