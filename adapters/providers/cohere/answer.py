"""A whole answer of Cohere, as events."""

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
from domain.answer import AnswerEvent, Started, TextDelta, ToolArguments, Used


class _Message(msgspec.Struct):
    content: list[Content] | None = None
    tool_plan: str | None = None
    tool_calls: list[ToolCall] | None = None
    citations: list[msgspec.Raw] | None = None


class _Answer(msgspec.Struct):
    id: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    logprobs: list[ChunkLogprobs] | None = None
    error: str | None = None
    error_type: str | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def events_of(body: bytes) -> list[AnswerEvent]:
    """Raises ErrorInAnswer, whatever the bytes are. Cohere does not say which model it was."""
    answer = decoded(body, _decode)
    if failure := failure_of(answer.finish_reason, answer.error, answer.error_type):
        raise failure
    if answer.message is None:
        raise error_in(body)
    events: list[AnswerEvent] = [Started(answer.id or ""), *_message_events(answer.message)]
    events += logprobs_of(answer.logprobs or ())
    events.append(finished(answer.finish_reason, called_tools=bool(answer.message.tool_calls)))
    if usage := usage_of(answer.usage):
        events.append(Used(usage))
    return events


def _message_events(message: _Message) -> list[AnswerEvent]:
    """The plan of what the tools are called for is text beside their calls."""
    events: list[AnswerEvent] = []
    for content in message.content or ():
        events += content_deltas(content)
    if message.tool_plan:
        events.append(TextDelta(message.tool_plan))
    for number, call in enumerate(message.tool_calls or ()):
        events.append(tool_started(number, call))
        events.append(ToolArguments(number, call.arguments or "{}"))
    events += [citation_of(citation) for citation in message.citations or ()]
    return events
