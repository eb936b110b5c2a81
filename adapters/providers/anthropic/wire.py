"""Anthropic's messages and events as they come, and what their parts say: only the fields that are read."""

import msgspec

from adapters.providers.anthropic.errors import read_error
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import (
    AnswerEvent,
    Citation,
    Finished,
    FinishReason,
    RedactedThinkingDelta,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolStarted,
)

NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "pause_turn": "pause",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


class Kind(msgspec.Struct):
    type: str


class _StopDetails(msgspec.Struct):
    explanation: str | None = None


class Stop(msgspec.Struct):
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: msgspec.Raw = msgspec.Raw()


class Message(Stop):
    id: str | None = None
    model: str | None = None
    content: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = msgspec.Raw()


class Block(msgspec.Struct):
    """Of a kind that is read; others are passed by."""

    text: str | None = None
    citations: list[msgspec.Raw] | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class Delta(Stop):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: msgspec.Raw = msgspec.Raw()


class EventKind(Kind):
    delta: msgspec.Raw = msgspec.Raw()


class Event(msgspec.Struct):
    type: str
    index: int | None = None
    message: Message | None = None
    content_block: msgspec.Raw = msgspec.Raw()
    delta: Delta | None = None
    usage: msgspec.Raw = msgspec.Raw()


class _CitedSource(msgspec.Struct):
    url: str | None = None
    source: str | None = None
    title: str | None = None
    document_title: str | None = None


decode_kind = msgspec.json.Decoder(Kind).decode
decode_message = msgspec.json.Decoder(Message).decode
decode_block = msgspec.json.Decoder(Block).decode
decode_event_kind = msgspec.json.Decoder(EventKind).decode
decode_event = msgspec.json.Decoder(Event).decode
_decode_cited = msgspec.json.Decoder(_CitedSource).decode
_decode_stop_details = msgspec.json.Decoder(_StopDetails).decode

BLOCKS = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})


def opened(kind: str, block: Block, tools: int) -> list[AnswerEvent]:
    """What a block says where it begins; a whole one says everything there, but for the arguments of a tool."""
    if kind == "tool_use":
        return [ToolStarted(tools, block.id or "", block.name or "")]
    if kind == "redacted_thinking":
        return [RedactedThinkingDelta(block.data)] if block.data else []
    if kind == "thinking":
        thoughts: list[AnswerEvent] = [ThinkingDelta(block.thinking)] if block.thinking else []
        return [*thoughts, ThinkingDelta("", signature=block.signature)] if block.signature else thoughts
    text: list[AnswerEvent] = [TextDelta(block.text)] if block.text else []
    return text + [citation(raw) for raw in block.citations or ()]


def input_of(block: Block) -> str:
    text = bytes(block.input).decode()
    return text if text not in ("", "null") else "{}"


def citation(raw: msgspec.Raw) -> Citation:
    source = _decode_cited(bytes(raw).decode())
    return Citation(raw.copy(), url=source.url or source.source, title=source.title or source.document_title)


def finished(stop: Stop) -> list[AnswerEvent]:
    reason = _FINISH_REASONS.get(stop.stop_reason or "", "stop")
    if reason == "stop_sequence":
        return [Finished(reason, stop_sequence=stop.stop_sequence)]
    explanation = _explanation(stop.stop_details) if reason == "refusal" else None
    return [RefusalDelta(explanation), Finished(reason)] if explanation else [Finished(reason)]


def _explanation(details: msgspec.Raw) -> str | None:
    try:
        return _decode_stop_details(details).explanation
    except NOT_READABLE:
        return None


def failure(data: bytes) -> ErrorInAnswer:
    error = read_error(data)
    if error is None:
        return ErrorInAnswer("The provider's answer is not a message.")
    return ErrorInAnswer(error.message, error_type=error.error_type, code=error.code)
