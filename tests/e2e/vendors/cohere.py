"""Cohere's API, version 2: it bills other units than it counts, and knows no field that it does not know."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.e2e.vendors.script import Refusing, Saying, saying_for
from tests.e2e.vendors.server import Answer, Heard, Streamed, Whole

KEY = "co-stand-in-0123456789"
BILLED, COUNTED, CACHED, THOUGHT_TOKENS = 80, 1_494, 64, 70
EMBEDDED_TOKENS = 4
PLAN = "I will look up the weather."
KNOWN = frozenset(
    "model messages stream max_tokens temperature p k stop_sequences seed presence_penalty frequency_penalty logprobs "
    "response_format thinking tools strict_tools tool_choice documents citation_options safety_mode priority".split()
)
MESSAGES = {
    400: "invalid request: message must be at least 1 token long or tool results must be specified.",
    401: "invalid api token",
    429: "You are using a Trial key, which is limited to 10 API calls / minute.",
    503: "service unavailable",
}


def cohere(heard: Heard) -> Answer:
    if heard.headers.get("authorization") != f"Bearer {KEY}":
        return _refusal(401)
    if heard.path == "/v2/embed":
        return _embeddings(heard.body)
    if wrong := _wrong(heard.body):
        return Whole({"id": "stand-in", "message": wrong}, 422)
    saying = saying_for(*_last(heard.body["messages"]))
    if isinstance(saying, Refusing):
        return _refusal(saying.status)
    if heard.body["stream"]:
        return Streamed(list(_events(saying)), is_cut=saying.ending == "cut")
    if saying.ending == "fail":
        return Whole({"id": "stand-in", "message": {"role": "assistant"}, "finish_reason": "ERROR", "usage": {}})
    return Whole(
        {"id": "stand-in", "message": _message(saying), "finish_reason": _finish_reason(saying), "usage": usage(saying)}
    )


def usage(saying: Saying) -> dict[str, Any]:
    tokens = saying.tokens + (THOUGHT_TOKENS if saying.thought else 0)
    return {
        "billed_units": {"input_tokens": BILLED, "output_tokens": tokens},
        "tokens": {"input_tokens": COUNTED, "output_tokens": tokens + 3},
        "cached_tokens": CACHED,
    }


def vector(text: str, dimensions: int) -> list[float]:
    return [0.0625 * len(text)] * dimensions


def _embeddings(body: dict[str, Any]) -> Whole:
    if "input_type" not in body:
        return Whole({"id": "stand-in", "message": "invalid request: input_type is required"}, 400)
    vectors = [vector(text, body.get("output_dimension", 3)) for text in body["texts"]]
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": EMBEDDED_TOKENS * len(vectors)}}
    return Whole(
        {
            "id": "stand-in",
            "texts": body["texts"],
            "embeddings": {"float": vectors},
            "meta": meta,
            "response_type": "embeddings_by_type",
        }
    )


def _wrong(body: dict[str, Any]) -> str | None:
    for name in body.keys() - KNOWN:
        return f"unknown field: parameter '{name}' is not a valid field"
    if any("strict" in tool["function"] for tool in body.get("tools", ())):
        return "unknown field: parameter 'strict' is not a valid field"
    if any(message["role"] == "tool" and not message["content"] for message in body["messages"]):
        return "invalid request: tool results must not be empty"
    return None


def _last(messages: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    results: list[str] = []
    while messages[-1 - len(results)]["role"] == "tool":
        results.insert(0, _text(messages[-1 - len(results)]["content"]))
    return ("", results) if results else (_text(messages[-1]["content"]), [])


def _text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or block["document"]["data"]["text"] for block in content)


def _finish_reason(saying: Saying) -> str:
    return "TOOL_CALL" if saying.calls else "COMPLETE"


def _message(saying: Saying) -> dict[str, Any]:
    if saying.calls:
        calls = [
            {"id": f"weather_{number}", "type": "function", "function": {"name": call.name, "arguments": call.json}}
            for number, call in enumerate(saying.calls)
        ]
        return {"role": "assistant", "tool_plan": PLAN, "tool_calls": calls}
    thought = [{"type": "thinking", "thinking": "".join(saying.thought)}] if saying.thought else []
    return {"role": "assistant", "content": [*thought, {"type": "text", "text": saying.text}]}


def _events(saying: Saying) -> Iterator[bytes]:
    begun = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield _event("message-start", id="stand-in", delta={"message": begun})
    yield from _calls(saying) if saying.calls else _content(saying)
    if saying.ending == "fail":
        error = "Model call failed due to an internal error"
        end = {"error": error, "error_type": "INVALID_TOOL_GENERATION", "finish_reason": "ERROR", "usage": {}}
        yield _event("message-end", id="stand-in", delta=end)
    elif saying.ending == "whole":
        end = {"finish_reason": _finish_reason(saying), "usage": usage(saying)}
        yield _event("message-end", id="stand-in", delta=end)
        yield b"data: [DONE]\n\n"


def _content(saying: Saying) -> Iterator[bytes]:
    index = 0
    for kind, member, pieces in (("thinking", "thinking", saying.thought), ("text", "text", saying.words)):
        if not pieces:
            continue
        yield _event("content-start", index=index, delta={"message": {"content": {"type": kind, member: ""}}})
        for piece in pieces:
            yield _event("content-delta", index=index, delta={"message": {"content": {member: piece}}})
        if saying.ending == "whole":
            yield _event("content-end", index=index)
        index += 1


def _calls(saying: Saying) -> Iterator[bytes]:
    for piece in PLAN.split(" "):
        yield _event("tool-plan-delta", delta={"message": {"tool_plan": f"{piece} "}})
    for index, call in enumerate(saying.calls):
        function = {"name": call.name, "arguments": ""}
        begun = {"id": f"weather_{index}", "type": "function", "function": function}
        yield _event("tool-call-start", index=index, delta={"message": {"tool_calls": begun}})
        for fragment in (call.json[:5], call.json[5:]):
            delta = {"message": {"tool_calls": {"function": {"arguments": fragment}}}}
            yield _event("tool-call-delta", index=index, delta=delta)
        yield _event("tool-call-end", index=index)


def _event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def _refusal(status: int) -> Whole:
    headers = {"retry-after": "21"} if status == 429 else {}
    return Whole({"id": "stand-in", "message": MESSAGES[status]}, status, headers)
