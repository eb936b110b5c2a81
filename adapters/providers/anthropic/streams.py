"""Anthropic's streamed answers as events."""

from collections.abc import Sequence

import msgspec

from adapters.providers.anthropic.usage import overlaid, usage_of
from adapters.providers.anthropic.wire import (
    BLOCKS,
    NOT_READABLE,
    Delta,
    Event,
    Message,
    citation,
    decode_block,
    decode_event,
    decode_event_kind,
    decode_kind,
    failure,
    finished,
    input_of,
    opened,
)
from domain.answer import AnswerEvent, Finished, Started, TextDelta, ThinkingDelta, ToolArguments, Used

END_MARK = b"[DONE]"
"""Not Anthropic's, but some that stand in front of it send it."""
_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)
_DELTAS = frozenset({"text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta"})


class AnthropicStreamReader:
    """Usage is reported at the start, which is all that is known of a stream that is cut, and at the end."""

    def __init__(self) -> None:
        self.ended = False
        self._usage = msgspec.Raw()
        self._finished = False
        self._tools: dict[int | None, _ToolSoFar] = {}
        self._tool_count = 0

    def read(self, data: bytes) -> Sequence[AnswerEvent]:
        if data == END_MARK:
            return ()
        try:
            event = decode_event(data)
        except NOT_READABLE:
            if _is_of_no_concern(data):
                return ()
            raise failure(data) from None
        try:
            return self._events(event, data)
        except NOT_READABLE:
            raise failure(data) from None

    def _events(self, event: Event, data: bytes) -> Sequence[AnswerEvent]:
        match event.type:
            case "content_block_delta":
                return self._continued(event.index, event.delta)
            case "content_block_start":
                return self._block_started(event)
            case "content_block_stop":
                return self._tool_ended(event.index)
            case "message_start":
                return self._message_started(event.message or Message())
            case "message_delta":
                return self._message_changed(event)
            case "message_stop":
                return self._message_ended()
            case "error":
                raise failure(data)
            case _:
                return ()

    def _continued(self, index: int | None, delta: Delta | None) -> Sequence[AnswerEvent]:
        if delta is None:
            return ()
        match delta.type:
            case "text_delta":
                return (TextDelta(delta.text),) if delta.text else ()
            case "input_json_delta":
                return self._arguments(index, delta.partial_json)
            case "thinking_delta":
                return (ThinkingDelta(delta.thinking),) if delta.thinking else ()
            case "signature_delta":
                return (ThinkingDelta("", signature=delta.signature),) if delta.signature else ()
            case "citations_delta":
                return (citation(delta.citation),)
            case _:
                return ()

    def _arguments(self, index: int | None, fragment: str | None) -> Sequence[AnswerEvent]:
        tool = self._tools.get(index)
        if tool is None or not fragment:
            return ()
        tool.has_arguments = True
        return (ToolArguments(tool.number, fragment),)

    def _block_started(self, event: Event) -> Sequence[AnswerEvent]:
        kind = decode_kind(event.content_block).type
        if kind not in BLOCKS:
            return ()
        block = decode_block(event.content_block)
        started = opened(kind, block, self._tool_count)
        if kind == "tool_use":
            self._tools[event.index] = _ToolSoFar(self._tool_count, input_of(block))
            self._tool_count += 1
        return started

    def _tool_ended(self, index: int | None) -> Sequence[AnswerEvent]:
        tool = self._tools.pop(index, None)
        return () if tool is None or tool.has_arguments else (ToolArguments(tool.number, tool.input),)

    def _message_started(self, message: Message) -> Sequence[AnswerEvent]:
        return [Started(message.id or "", message.model or ""), *self._used(message.usage)]

    def _message_changed(self, event: Event) -> Sequence[AnswerEvent]:
        finish: Sequence[AnswerEvent] = ()
        if event.delta is not None and event.delta.stop_reason is not None and not self._finished:
            finish = [*self._tools_ended(), *finished(event.delta)]
            self._finished = True
        return [*finish, *self._used(event.usage)]

    def _message_ended(self) -> Sequence[AnswerEvent]:
        self.ended = True
        if self._finished:
            return ()
        self._finished = True
        return [*self._tools_ended(), Finished("stop")]

    def _tools_ended(self) -> Sequence[AnswerEvent]:
        return [event for index in list(self._tools) for event in self._tool_ended(index)]

    def _used(self, raw: msgspec.Raw) -> Sequence[AnswerEvent]:
        if bytes(raw) in (b"", b"null"):
            return ()
        self._usage = overlaid(self._usage, raw)
        usage = usage_of(self._usage)
        return (Used(usage),) if usage else ()


class _ToolSoFar:
    def __init__(self, number: int, whole_input: str) -> None:
        self.number = number
        self.input = whole_input
        self.has_arguments = False


def _is_of_no_concern(data: bytes) -> bool:
    """An event, or a delta, of a kind that is not known need not look like those that are."""
    try:
        event = decode_event_kind(data)
        if event.type in _EVENTS:
            return event.type == "content_block_delta" and decode_kind(event.delta).type not in _DELTAS
    except NOT_READABLE:
        return False
    return True
