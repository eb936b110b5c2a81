"""Anthropic's whole answers as events."""

from adapters.providers.anthropic.usage import usage_of
from adapters.providers.anthropic.wire import (
    BLOCKS,
    NOT_READABLE,
    decode_block,
    decode_kind,
    decode_message,
    failure,
    finished,
    input_of,
    opened,
)
from domain.answer import AnswerEvent, Started, ToolArguments, Used


def read(body: bytes) -> list[AnswerEvent]:
    """Raises ErrorInAnswer."""
    try:
        message = decode_message(body)
        if message.content is None:
            raise failure(body)
        events: list[AnswerEvent] = [Started(message.id or "", message.model or "")]
        tools = 0
        for raw in message.content:
            kind = decode_kind(raw).type
            if kind in BLOCKS:
                events += opened(kind, block := decode_block(raw), tools)
                if kind == "tool_use":
                    events.append(ToolArguments(tools, input_of(block)))
                    tools += 1
        events += finished(message)
    except NOT_READABLE:
        raise failure(body) from None
    usage = usage_of(message.usage)
    return [*events, Used(usage)] if usage else events
