"""The built-in simulated provider: deterministic answers, real usage, no network.

`{"sim": {"latency_ms": 200, "chunks": 20, "chunk_ms": 10, "words": 24, "fail": "refuse"|"cut"|"silent"}}` in a request
shapes the answer; `"calls": {"get_weather": {"city": "Paris"}}` makes it call these tools instead. With a served log
it writes what it served, one JSON line before it answers: the oracle of kill tests.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from adapters.dialects.dialect import ChatDialect, Dialects, EmbeddingDialect
from adapters.providers.translation import piece_of, reply_of
from domain.answer import AnswerEvent, Finished, Started, TextDelta, ThinkingDelta, ToolArguments, ToolStarted, Used
from domain.chat import ChatAsk, Expressible
from domain.embedding import Embeddings
from domain.errors import InvalidInput, ProviderBroken, ProviderRefused, UnsupportedParameter
from domain.ports import PreparedCall
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Reply, ReplyPiece, Usage

WORDS = (
    "the ledger remembers each charge and every grant so a balance is only a sum of what happened here before "
    "noon while steady workers lease credit return it and write one line more for anyone who asks to prove it"
).split()
THOUGHT = "a word about each word first"
SUPPORTS = frozenset(
    "max_output_tokens temperature top_p seed stop user sim tools tool_choice parallel_tool_calls reasoning".split()
)
ENDPOINTS = frozenset({"chat.completions", "completions", "embeddings", "responses", "messages", "count_tokens"})
USUAL_WORDS = 24
USUAL_CHUNKS = 8
USUAL_DIMENSIONS = 8

_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=600_000)]
Failing = Literal["refuse", "cut", "silent"]


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    latency_ms: _Milliseconds = 0
    chunks: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = USUAL_CHUNKS
    chunk_ms: _Milliseconds = 0
    words: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = USUAL_WORDS
    fail: Failing | None = None
    calls: dict[str, dict[str, Any]] = {}


class SimProvider:
    """`fail`: `refuse` answers 503, `cut` breaks off halfway, `silent` reports no usage."""

    name = "sim"

    def __init__(self, dialects: Dialects, served_log: Path | None = None) -> None:
        self._dialects = dialects
        self._log_fd = (
            None if served_log is None else os.open(served_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        )

    def close(self) -> None:
        if self._log_fd is not None:
            os.close(self._log_fd)

    def can(self, capability: str) -> bool:
        return capability in SUPPORTS or capability in ENDPOINTS

    def prepare(self, call: ProviderCall) -> PreparedCall:
        if call.endpoint == "embeddings":
            return SimEmbeddings(self, self._dialects.embeddings, call)
        return SimChat(self, self._dialects.chat[call.endpoint], call)

    async def count_tokens(self, call: ProviderCall) -> int:
        return call.input_estimate

    def served(self, call: ProviderCall, usage: Usage) -> None:
        if self._log_fd is not None:
            line = {"request_id": call.request_id, "model": call.upstream_model, "usage": usage.raw}
            os.write(self._log_fd, msgspec.json.encode(line) + b"\n")


class SimChat:
    def __init__(self, sim: SimProvider, dialect: ChatDialect, call: ProviderCall) -> None:
        ask = dialect.read(call)
        expressible = Expressible(sim.name, ask.names, drop=call.drop_params)
        expressible.refuse_unless(ask, SUPPORTS)
        self.dropped: Sequence[str] = expressible.dropped
        self._sim = sim
        self._dialect = dialect
        self._call = call
        self._shape = _shape(ask.extras)
        self._events, self._usage = _answer(call, ask, self._shape)

    async def complete(self) -> Reply:
        await self._begin()
        if self._shape.fail == "cut":
            raise _broken_off()
        return reply_of([*self._events, *self._report()], self._dialect, self._call)

    async def stream(self) -> AsyncGenerator[ReplyPiece]:
        await self._begin()
        writer = self._dialect.writer(self._call)
        half = len(self._events) // 2
        for number, event in enumerate(self._events):
            if self._shape.fail == "cut" and number >= half:
                raise _broken_off()
            yield piece_of([event], writer)
            if isinstance(event, TextDelta):
                await _wait(self._shape.chunk_ms)
        piece = piece_of(self._report(), writer)
        rest, closing = writer.close()
        yield ReplyPiece(piece.data + rest, model=self._call.upstream_model, usage=piece.usage, closing=closing)

    def _report(self) -> list[AnswerEvent]:
        return [] if self._shape.fail == "silent" else [Used(self._usage)]

    async def _begin(self) -> None:
        self._sim.served(self._call, self._usage)
        await _wait(self._shape.latency_ms)
        if self._shape.fail == "refuse":
            message = "The simulated provider refuses, as asked."
            raise ProviderRefused(self._sim.name, message, status=503, error_type="server_error")


class SimEmbeddings:
    """The same text gives the same vector, of length 1."""

    dropped: Sequence[str] = ()

    def __init__(self, sim: SimProvider, dialect: EmbeddingDialect, call: ProviderCall) -> None:
        self._sim = sim
        self._dialect = dialect
        self._call = call
        self._ask = dialect.read(call)

    async def complete(self) -> Reply:
        usage = _used(self._call.input_estimate, 0)
        self._sim.served(self._call, usage)
        size = self._ask.dimensions or USUAL_DIMENSIONS
        vectors = tuple(_vector(text, size) for text in self._ask.inputs)
        embeddings = Embeddings(model=self._call.upstream_model, vectors=vectors, usage=usage)
        return Reply(self._dialect.whole(embeddings, self._call), self._call.upstream_model, "stop", usage, 0)

    def stream(self) -> AsyncIterator[ReplyPiece]:
        raise InvalidInput("stream: embeddings are answered whole.", field="stream")


def _shape(extras: Mapping[str, msgspec.Raw]) -> Shape:
    try:
        return msgspec.json.decode(extras.get("sim", b"{}"), type=Shape)
    except msgspec.ValidationError as error:
        raise UnsupportedParameter("sim", f"sim: shapes the simulated answer: {error}.") from None


def _answer(call: ProviderCall, ask: ChatAsk, shape: Shape) -> tuple[list[AnswerEvent], Usage]:
    """The same turns give the same words; a token is a word, or a called tool."""
    events: list[AnswerEvent] = [Started(model=call.upstream_model)]
    thinks = ask.reasoning is not None and ask.reasoning.effort != "none" and ask.reasoning.budget_tokens != 0
    if thinks:
        events += [ThinkingDelta(THOUGHT), ThinkingDelta("", signature="c2lt")]
    calls = {name: shape.calls[name] for name in shape.calls if any(tool.name == name for tool in ask.tools)}
    for index, (name, arguments) in enumerate(calls.items()):
        events.append(ToolStarted(index, f"call_{call.request_id[-12:]}{index}", name))
        events.append(ToolArguments(index, msgspec.json.encode(arguments).decode()))
    count = len(calls) or max(1, min(shape.words, call.max_output_tokens))
    if not calls:
        events += _text(ask, count, shape.chunks)
    is_cut = not calls and count < shape.words
    events.append(Finished("tool_calls" if calls else "length" if is_cut else "stop"))
    return events, _used(call.input_estimate, count, len(THOUGHT.split()) if thinks else 0)


def _text(ask: ChatAsk, count: int, chunks: int) -> list[AnswerEvent]:
    seed = int.from_bytes(hashlib.blake2b(msgspec.json.encode(ask.turns), digest_size=4).digest(), "big")
    text = " ".join(WORDS[(seed + index) % len(WORDS)] for index in range(count))
    size = max(1, -(-len(text) // chunks))
    return [TextDelta(text[start : start + size]) for start in range(0, len(text), size)]


def _used(prompt: int, completion: int, thought: int = 0) -> Usage:
    raw: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion + thought,
        "total_tokens": prompt + completion + thought,
    }
    if thought:
        raw["completion_tokens_details"] = {"reasoning_tokens": thought}
    return Usage(msgspec.Raw(msgspec.json.encode(raw)), Tokens(input=prompt, output=completion, reasoning=thought))


def _vector(text: str, size: int) -> tuple[float, ...]:
    values = [byte / 255 for byte in hashlib.shake_256(text.encode()).digest(size)]
    length = sum(value * value for value in values) ** 0.5 or 1.0
    return tuple(value / length for value in values)


async def _wait(milliseconds: int) -> None:
    if milliseconds > 0:
        await asyncio.sleep(milliseconds / 1000)


def _broken_off() -> ProviderBroken:
    return ProviderBroken("sim", "The simulated provider broke off, as asked.")
