"""What Cohere's whole and streamed answers have in common. Every member may be absent or null."""

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import (
    Citation,
    Finished,
    FinishReason,
    Logprobs,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolStarted,
)

FINISH_REASONS: dict[str, FinishReason] = {"STOP_SEQUENCE": "stop_sequence", "MAX_TOKENS": "length"}


class Content(msgspec.Struct):
    """Text or thinking; other kinds have neither."""

    text: str | None = None
    thinking: str | None = None


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    id: str | None = None
    function: Function | None = None

    @property
    def arguments(self) -> str:
        return (self.function and self.function.arguments) or ""


class ChunkLogprobs(msgspec.Struct):
    """A chunk of text and the logarithms of each of its tokens."""

    text: str | None = None
    logprobs: list[float] | None = None


class _Source(msgspec.Struct):
    """What was cited is the client's own: a document of its request, or the output of its tool."""

    document: Any = None
    tool_output: Any = None


class _Cited(msgspec.Struct):
    sources: list[_Source] | None = None


_decode_cited = msgspec.json.Decoder(_Cited).decode


def content_deltas(content: Content) -> list[TextDelta | ThinkingDelta]:
    deltas: list[TextDelta | ThinkingDelta] = []
    if content.thinking:
        deltas.append(ThinkingDelta(content.thinking))
    if content.text:
        deltas.append(TextDelta(content.text))
    return deltas


def tool_started(number: int, call: ToolCall) -> ToolStarted:
    """Raises ErrorInAnswer."""
    if not call.id or not call.function or not call.function.name:
        raise ErrorInAnswer("Cohere called a tool without a name or an id.")
    return ToolStarted(number, call.id, call.function.name)


def logprobs_of(chunks: Sequence[ChunkLogprobs]) -> list[Logprobs]:
    """Cohere tells the text of a chunk, not of each of its tokens: a chunk counts as one token, as likely as all of
    its tokens together."""
    tokens = [
        TokenLogprob(chunk.text or "", sum(chunk.logprobs), tuple((chunk.text or "").encode()))
        for chunk in chunks
        if chunk.logprobs
    ]
    return [Logprobs(tuple(tokens))] if tokens else []


def citation_of(raw: msgspec.Raw) -> Citation:
    """Raises ErrorInAnswer."""
    try:
        cited = _decode_cited(raw)
    except (msgspec.DecodeError, RecursionError):
        raise ErrorInAnswer("Cohere's citation is not readable.") from None
    for source in cited.sources or ():
        for shown in (source.document, source.tool_output):
            url, title = _text(shown, "url"), _text(shown, "title")
            if url or title:
                return Citation(raw.copy(), url=url, title=title)
    return Citation(raw.copy())


def finished(reason: str | None, *, called_tools: bool) -> Finished:
    """COMPLETE and TOOL_CALL by what the answer holds; so, too, what we do not know."""
    known = FINISH_REASONS.get(reason or "")
    return Finished(known or ("tool_calls" if called_tools else "stop"))


def _text(shown: Any, member: str) -> str | None:
    value = shown.get(member) if isinstance(shown, dict) else None
    return value if isinstance(value, str) else None
