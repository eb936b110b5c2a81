"""Streamed answers of Cohere, made by hand after real ones: the data of each server-sent event."""

from typing import Any

import msgspec

DONE = b"[DONE]"


def event(kind: str, **members: Any) -> bytes:
    return msgspec.json.encode({"type": kind, **members})


def end(reason: str | None) -> bytes:
    return event("message-end", delta={"finish_reason": reason})


def _start(ident: str) -> bytes:
    empty: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    return event("message-start", id=ident, delta={"message": empty})


def _content(kind: str, index: int, content: dict[str, str], **members: Any) -> bytes:
    return event(kind, index=index, delta={"message": {"content": content}}, **members)


def _tool(kind: str, index: int, call: dict[str, Any]) -> bytes:
    return event(kind, index=index, delta={"message": {"tool_calls": call}})


def _called(index: int, ident: str, name: str, *fragments: str) -> list[bytes]:
    function = {"name": name, "arguments": ""}
    return [
        _tool("tool-call-start", index, {"id": ident, "type": "function", "function": function}),
        *(_tool("tool-call-delta", index, {"function": {"arguments": fragment}}) for fragment in fragments),
        event("tool-call-end", index=index),
    ]


def _plan(text: str) -> bytes:
    return event("tool-plan-delta", delta={"message": {"tool_plan": text}})


SPOKEN = (
    _start("s1"),
    _content("content-start", 0, {"type": "thinking", "thinking": ""}),
    _content("content-delta", 0, {"thinking": "Hm"}),
    event("content-end", index=0),
    _content("content-start", 1, {"type": "text", "text": ""}),
    _content("content-delta", 1, {"text": "Sk"}),
    _content("content-delta", 1, {"text": "y."}, logprobs={"text": "y.", "token_ids": [4], "logprobs": [-0.5]}),
    event(
        "citation-start",
        index=0,
        delta={
            "message": {"citations": {"text": "Sky", "sources": [{"id": "0", "tool_output": {"url": "https://a/b"}}]}}
        },
    ),
    event("citation-end", index=0),
    event("content-end", index=1),
    event(
        "message-end",
        delta={
            "finish_reason": "COMPLETE",
            "usage": {
                "billed_units": {"input_tokens": 12, "output_tokens": 65},
                "tokens": {"input_tokens": 212, "output_tokens": 65},
                "cached_tokens": 208,
            },
        },
    ),
    DONE,
)
PLANNED = (
    _start("s2"),
    _plan("I"),
    _plan(" will."),
    *_called(3, "c1", "weather", '{"city"', ':"Rome"}'),
    *_called(5, "c2", "clock"),
    end("TOOL_CALL"),
    DONE,
)
