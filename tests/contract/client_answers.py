"""What a client is told, read with the vendors' own SDKs: strict about every byte, and gathered as they gather it."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from domain.answer import FinishReason
from domain.upstream import Endpoint

Json = dict[str, Any]
DONE = b"[DONE]"
ANTHROPIC_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """`finish` in the client's own vocabulary; `usage` is (prompt, completion, cached, thoughts)."""

    words: str
    thinking: str
    tools: tuple[tuple[str, Json], ...]
    finish: str
    usage: tuple[int, int, int, int]


FINISHES: dict[Endpoint, dict[FinishReason, str]] = {
    "chat.completions": {
        "stop": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "tool_calls": "tool_calls",
        "content_filter": "content_filter",
        "refusal": "content_filter",
    },
    "completions": {
        "stop": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "tool_calls": "stop",
        "content_filter": "content_filter",
        "refusal": "content_filter",
    },
    "responses": {
        "stop": "completed",
        "stop_sequence": "completed",
        "length": "incomplete: max_output_tokens",
        "tool_calls": "completed",
        "content_filter": "incomplete: content_filter",
        "refusal": "incomplete: content_filter",
    },
    "messages": {
        "stop": "end_turn",
        "stop_sequence": "stop_sequence",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
        "refusal": "refusal",
    },
}


def told_whole(endpoint: Endpoint, body: bytes) -> Told:
    match endpoint:
        case "chat.completions":
            return _of_chat(ChatCompletion.model_validate_json(body, strict=True).to_dict(exclude_unset=True))
        case "completions":
            return _of_completion(Completion.model_validate_json(body, strict=True).to_dict(exclude_unset=True))
        case "responses":
            return _of_response(Response.model_validate_json(body).to_dict(exclude_unset=True))
        case _:
            return _of_message(Message.model_validate_json(body, strict=True).to_dict(exclude_unset=True))


def told_streamed(endpoint: Endpoint, data: bytes) -> Told:
    gathered: dict[str, Callable[[bytes], Told]] = {
        "chat.completions": _gathered_chat,
        "completions": _gathered_completion,
        "responses": _gathered_response,
        "messages": _gathered_message,
    }
    return gathered[endpoint](data)


def events_in(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and data of each. Nothing else may stand in what goes out."""
    assert data.endswith(b"\n\n")
    for block in data.removesuffix(b"\n\n").split(b"\n\n"):
        *names, said = block.split(b"\n")
        assert said.startswith(b"data: ")
        yield (names[0].removeprefix(b"event: ").decode() if names else ""), said.removeprefix(b"data: ")


def _gathered_chat(data: bytes) -> Told:
    state = ChatCompletionStreamState()
    *chunks, (_, last) = events_in(data)
    assert last == DONE
    for _, chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(chunk, strict=True))
    assert len({msgspec.json.decode(chunk)["id"] for _, chunk in chunks}) == 1
    return _of_chat(state.current_completion_snapshot.to_dict(exclude_unset=True))


def _gathered_completion(data: bytes) -> Told:
    *chunks, (_, last) = events_in(data)
    assert last == DONE
    decoded = [_completion_chunk(chunk) for _, chunk in chunks]
    choices: list[Json] = [choice for chunk in decoded for choice in chunk["choices"]]
    whole: Json = {
        "choices": [
            {
                "text": "".join(choice["text"] for choice in choices),
                "finish_reason": next(choice["finish_reason"] for choice in choices if choice["finish_reason"]),
            }
        ],
        "usage": decoded[-1]["usage"],
    }
    return _of_completion(whole)


def _completion_chunk(chunk: bytes) -> Json:
    """The SDK has one type for the whole and its chunks, in which null has no place before the end. OpenAI sends it."""
    decoded: Json = msgspec.json.decode(chunk)
    ended = [{**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in decoded["choices"]]
    Completion.model_validate({**decoded, "choices": ended}, strict=True)
    return decoded


def _gathered_response(data: bytes) -> Told:
    events = list(events_in(data))
    decoded = [msgspec.json.decode(event) for _, event in events]
    for number, ((name, _), event) in enumerate(zip(events, decoded, strict=True)):
        RESPONSE_EVENT.validate_python(event)
        assert (event["type"], event["sequence_number"]) == (name, number)
    return _of_response(decoded[-1]["response"])


def _gathered_message(data: bytes) -> Told:
    snapshot = None
    buffers: dict[int, bytes] = {}
    for name, event in events_in(data):
        decoded = ANTHROPIC_EVENT.validate_json(event, strict=True) if name != "ping" else None
        if decoded is not None:
            snapshot = accumulate_event(event=decoded, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return _of_message(snapshot.to_dict(exclude_unset=True))


def _details(usage: Json, name: str, count: str) -> int:
    return (usage.get(name) or {}).get(count) or 0


def _of_chat(body: Json) -> Told:
    [choice] = body["choices"]
    message, usage = choice["message"], body["usage"]
    return Told(
        words=(message.get("content") or "") + (message.get("refusal") or ""),
        thinking=message.get("reasoning_content") or "",
        tools=tuple(
            (tool["function"]["name"], msgspec.json.decode(tool["function"]["arguments"]))
            for tool in message.get("tool_calls") or ()
        ),
        finish=choice["finish_reason"],
        usage=_openai_usage(usage),
    )


def _openai_usage(usage: Json) -> tuple[int, int, int, int]:
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    cached = _details(usage, "prompt_tokens_details", "cached_tokens")
    thoughts = _details(usage, "completion_tokens_details", "reasoning_tokens")
    return usage["prompt_tokens"], usage["completion_tokens"], cached, thoughts


def _of_completion(body: Json) -> Told:
    [choice] = body["choices"]
    usage = _openai_usage(body["usage"])
    return Told(words=choice["text"], thinking="", tools=(), finish=choice["finish_reason"], usage=usage)


def _of_response(body: Json) -> Told:
    usage, incomplete = body["usage"], body["incomplete_details"]
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    thoughts = [part for item in body["output"] if item["type"] == "reasoning" for part in item["summary"]]
    calls = [item for item in body["output"] if item["type"] == "function_call"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    return Told(
        words="".join(part.get("text") or part.get("refusal") or "" for part in parts),
        thinking="".join(part["text"] for part in thoughts),
        tools=tuple((item["name"], msgspec.json.decode(item["arguments"])) for item in calls),
        finish=f"{body['status']}: {incomplete['reason']}" if incomplete else body["status"],
        usage=(
            usage["input_tokens"],
            usage["output_tokens"],
            _details(usage, "input_tokens_details", "cached_tokens"),
            _details(usage, "output_tokens_details", "reasoning_tokens"),
        ),
    )


def _of_message(body: Json) -> Told:
    usage, content = body["usage"], body["content"]
    cached, written = usage["cache_read_input_tokens"] or 0, usage["cache_creation_input_tokens"] or 0
    return Told(
        words="".join(block["text"] for block in content if block["type"] == "text"),
        thinking="".join(block["thinking"] for block in content if block["type"] == "thinking"),
        tools=tuple((block["name"], block["input"]) for block in content if block["type"] == "tool_use"),
        finish=body["stop_reason"],
        usage=(
            usage["input_tokens"] + cached + written,
            usage["output_tokens"],
            cached,
            _details(usage, "output_tokens_details", "thinking_tokens"),
        ),
    )
