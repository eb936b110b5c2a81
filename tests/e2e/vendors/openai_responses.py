"""OpenAI's Responses API."""

import json
from collections.abc import Iterator
from typing import Any

from tests.e2e.vendors.script import Saying
from tests.e2e.vendors.server import Answer, Streamed, Whole

Json = dict[str, Any]


def answer(body: Json, saying: Saying, used: Json) -> Answer:
    if body.get("stream"):
        return Streamed(list(_numbered(_events(body, saying, used))), is_cut=saying.ending == "cut")
    if saying.ending == "fail":
        return Whole(_response(body, "failed", [], None))
    return Whole(_response(body, "completed", _items(saying), used))


def usage(chat: Json) -> Json:
    """The same as of a chat completion."""
    inputs, outputs = chat["prompt_tokens_details"], chat["completion_tokens_details"]
    return {
        "input_tokens": chat["prompt_tokens"],
        "input_tokens_details": {name: inputs[name] for name in ("cached_tokens", "cache_write_tokens")},
        "output_tokens": chat["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": outputs["reasoning_tokens"]},
        "total_tokens": chat["total_tokens"],
    }


def last(asked: str | list[Json]) -> tuple[str, list[str]]:
    if isinstance(asked, str):
        return asked, []
    results: list[str] = []
    while asked[-1 - len(results)].get("type") == "function_call_output":
        results.insert(0, asked[-1 - len(results)]["output"])
    if results:
        return "", results
    content = asked[-1]["content"]
    return content if isinstance(content, str) else content[0]["text"], []


def _items(saying: Saying) -> list[Json]:
    items: list[Json] = []
    if saying.words:
        text = {"type": "output_text", "text": saying.text, "annotations": [], "logprobs": []}
        message = {"id": "msg_stand", "type": "message", "status": "completed", "role": "assistant"}
        items.append({**message, "content": [text]})
    for number, call in enumerate(saying.calls):
        ident = {"id": f"fc_stand{number}", "type": "function_call", "status": "completed"}
        items.append({**ident, "call_id": f"call_stand{number}", "name": call.name, "arguments": call.json})
    return items


def _response(body: Json, status: str, output: list[Json], used: Json | None) -> Json:
    error = {"code": "server_error", "message": "The server had an error"} if status == "failed" else None
    return {
        "id": "resp_stand_in",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": status,
        "background": False,
        "error": error,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": {},
        "model": f"{body['model']}-served",
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": used,
        "user": None,
    }


def _events(body: Json, saying: Saying, used: Json) -> Iterator[tuple[str, Json]]:
    yield "response.created", {"response": _response(body, "in_progress", [], None)}
    yield "response.in_progress", {"response": _response(body, "in_progress", [], None)}
    for index, item in enumerate(_items(saying)):
        events = _message(index, item, saying) if item["type"] == "message" else _call(index, item)
        yield from events
    if saying.ending == "fail":
        yield "response.failed", {"response": _response(body, "failed", [], None)}
    elif saying.ending == "whole":
        yield "response.completed", {"response": _response(body, "completed", _items(saying), used)}


def _message(index: int, item: Json, saying: Saying) -> Iterator[tuple[str, Json]]:
    text, place = item["content"][0], {"item_id": item["id"], "output_index": index, "content_index": 0}
    begun = {**item, "status": "in_progress", "content": []}
    yield "response.output_item.added", {"output_index": index, "item": begun}
    yield "response.content_part.added", {**place, "part": {**text, "text": ""}}
    for word in saying.words:
        yield "response.output_text.delta", {**place, "delta": word, "logprobs": [], "obfuscation": "aX9"}
    if saying.ending == "whole":
        yield "response.output_text.done", {**place, "text": saying.text, "logprobs": []}
        yield "response.content_part.done", {**place, "part": text}
        yield "response.output_item.done", {"output_index": index, "item": item}


def _call(index: int, item: Json) -> Iterator[tuple[str, Json]]:
    place = {"item_id": item["id"], "output_index": index}
    begun = {**item, "status": "in_progress", "arguments": ""}
    yield "response.output_item.added", {"output_index": index, "item": begun}
    for fragment in (item["arguments"][:5], item["arguments"][5:]):
        yield "response.function_call_arguments.delta", {**place, "delta": fragment}
    done = {**place, "arguments": item["arguments"], "name": item["name"]}
    yield "response.function_call_arguments.done", done
    yield "response.output_item.done", {"output_index": index, "item": item}


def _numbered(events: Iterator[tuple[str, Json]]) -> Iterator[bytes]:
    for number, (kind, members) in enumerate(events):
        data = json.dumps({"type": kind, "sequence_number": number, **members})
        yield f"event: {kind}\ndata: {data}\n\n".encode()
