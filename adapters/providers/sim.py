"""The built-in simulated provider: deterministic answers, real usage, no network.

`{"sim": {"latency_ms": 200, "chunks": 20, "chunk_ms": 10, "fail": "refuse"|"cut"|"silent"}}` in a request shapes the
answer. With a served log it writes what it served, one JSON line before it answers: the oracle of kill tests.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from domain.chat import ChatCall, ChatReply, ReplyPiece, Usage
from domain.errors import ProviderBroken, ProviderRefused, UnsupportedParameter
from domain.pricing import Tokens

WORDS = (
    "the ledger remembers each charge and every grant so a balance is only a sum of what happened here before "
    "noon while steady workers lease credit return it and write one line more for anyone who asks to prove it"
).split()
PARAMETERS = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens temperature top_p seed stop user sim".split()
)
USUAL_WORDS = 24
USUAL_CHUNKS = 8

_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=600_000)]


class _Shape(msgspec.Struct, forbid_unknown_fields=True):
    latency_ms: _Milliseconds = 0
    chunks: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = USUAL_CHUNKS
    chunk_ms: _Milliseconds = 0
    words: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = USUAL_WORDS
    fail: Literal["refuse", "cut", "silent"] | None = None


class SimProvider:
    """`fail`: `refuse` answers 503, `cut` breaks off halfway, `silent` reports no usage."""

    name = "sim"

    def __init__(self, served_log: Path | None = None) -> None:
        self._log_fd = (
            None if served_log is None else os.open(served_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        )

    def close(self) -> None:
        if self._log_fd is not None:
            os.close(self._log_fd)

    def check(self, members: Mapping[str, msgspec.Raw]) -> None:
        for name in members:
            if name not in PARAMETERS:
                raise UnsupportedParameter(name, f"The simulated provider has no parameter {name!r}; leave it out.")
        _shape(members)

    async def complete(self, call: ChatCall) -> ChatReply:
        shape = _shape(call.members)
        text, usage = _answer(call, shape)
        self._served(call, usage)
        await _wait(shape.latency_ms)
        if shape.fail in ("refuse", "cut"):
            raise _failure(shape.fail)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": None,
        }
        body = _object(call, "chat.completion", [choice])
        if shape.fail != "silent":
            body["usage"] = usage.raw
        reported = None if shape.fail == "silent" else usage
        return ChatReply(msgspec.json.encode(body), call.upstream_model, "stop", reported, len(text))

    async def stream(self, call: ChatCall) -> AsyncGenerator[ReplyPiece]:
        shape = _shape(call.members)
        text, usage = _answer(call, shape)
        self._served(call, usage)
        await _wait(shape.latency_ms)
        if shape.fail == "refuse":
            raise _failure(shape.fail)
        yield _piece(call, {"role": "assistant", "content": ""})
        size = max(1, -(-len(text) // shape.chunks))
        for start in range(0, len(text), size):
            if shape.fail == "cut" and start >= len(text) // 2:
                raise _failure(shape.fail)
            part = text[start : start + size]
            yield _piece(call, {"content": part}, chars=len(part))
            await _wait(shape.chunk_ms)
        yield _piece(call, {}, finish_reason="stop")
        if shape.fail != "silent":
            event = _event({**_object(call, "chat.completion.chunk", []), "usage": usage.raw})
            yield ReplyPiece(event if call.include_usage else b"", usage=usage, model=call.upstream_model)

    def _served(self, call: ChatCall, usage: Usage) -> None:
        if self._log_fd is not None:
            line = {"request_id": call.request_id, "model": call.upstream_model, "usage": usage.raw}
            os.write(self._log_fd, msgspec.json.encode(line) + b"\n")


def _shape(members: Mapping[str, msgspec.Raw]) -> _Shape:
    try:
        return msgspec.json.decode(members.get("sim", b"{}"), type=_Shape)
    except msgspec.ValidationError as error:
        raise UnsupportedParameter("sim", f"`sim` shapes the simulated answer: {error}") from None


def _answer(call: ChatCall, shape: _Shape) -> tuple[str, Usage]:
    """The same messages give the same words; a token is a word."""
    count = max(1, min(shape.words, call.max_output_tokens))
    seed = int.from_bytes(hashlib.blake2b(call.members["messages"], digest_size=4).digest(), "big")
    text = " ".join(WORDS[(seed + index) % len(WORDS)] for index in range(count))
    raw = {
        "prompt_tokens": call.input_estimate,
        "completion_tokens": count,
        "total_tokens": call.input_estimate + count,
    }
    return text, Usage(msgspec.Raw(msgspec.json.encode(raw)), Tokens(input=call.input_estimate, output=count))


def _object(call: ChatCall, kind: str, choices: list[Any]) -> dict[str, Any]:
    created = int(call.request_id.removeprefix("req_")[:12], 16) // 1000
    return {
        "id": f"chatcmpl-{call.request_id}",
        "object": kind,
        "created": created,
        "model": call.upstream_model,
        "choices": choices,
    }


def _piece(call: ChatCall, delta: dict[str, str], *, chars: int = 0, finish_reason: str | None = None) -> ReplyPiece:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    data = _event(_object(call, "chat.completion.chunk", [choice]))
    return ReplyPiece(data, output_chars=chars, model=call.upstream_model, finish_reason=finish_reason)


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


async def _wait(milliseconds: int) -> None:
    if milliseconds > 0:
        await asyncio.sleep(milliseconds / 1000)


def _failure(kind: str) -> ProviderRefused | ProviderBroken:
    if kind == "refuse":
        return ProviderRefused(
            "sim", "The simulated provider refuses, as asked.", status=503, error_type="server_error"
        )
    return ProviderBroken("sim", "The simulated provider broke off, as asked.")
