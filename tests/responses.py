"""Requests for a response, and answers to them: ours, and one of OpenAI's."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pydantic
from openai.types.responses import ResponseStreamEvent

from adapters.dialects.responses.dialect import ResponsesDialect
from domain.answer import AnswerEvent
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import ProviderCall

REQUEST_ID = RequestId("req_0197f0c2a1b87a6f9c3e5d2b4a1c0001")
IDENT = "0197f0c2a1b87a6f9c3e5d2b4a1c0001"
SIGNED = {"google": {"thought_signature": "s1"}}

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 150,
}
TOKENS = Tokens(input=50, cached_input=30, cache_write_5m=20, output=10, reasoning=40)
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "x",
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_790_000_000,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-6-2026-10-01",
    "output": [REASONING, MESSAGE],
    "usage": USAGE,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
FAILED = {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "We broke."}}

StreamEvents = pydantic.TypeAdapter[Any](ResponseStreamEvent)


def body(**members: Any) -> bytes:
    return msgspec.json.encode({"model": "ours", "input": "Hello", **members})


def call(**members: Any) -> ProviderCall:
    return call_of(body(**members))


def call_of(sent: bytes) -> ProviderCall:
    members = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    return ProviderCall(
        request_id=REQUEST_ID,
        endpoint="responses",
        upstream_model="theirs",
        members=members,
        stream=bytes(members.get("stream", b"")) == b"true",
        include_usage=True,
        drop_params=False,
        input_estimate=1,
        max_output_tokens=4_096,
    )


def streamed(events: Sequence[AnswerEvent], asked: ProviderCall | None = None) -> bytes:
    """One event a write."""
    writer = ResponsesDialect().writer(asked or call(stream=True))
    written = b"".join(writer.write([event]) for event in events)
    return written + b"".join(writer.close())


def events_in(stream: bytes) -> list[dict[str, Any]]:
    """The data of each event, whose name is its type."""
    found: list[dict[str, Any]] = []
    for block in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        event = msgspec.json.decode(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found
