"""A conversation goes on: the client sends an answer back as its SDK holds it, and the provider gets its own words.

Signatures over thoughts, hidden thoughts and the ids of calls survive, whichever format the client speaks.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from domain.upstream import Endpoint
from tests.contract.client_answers import ANTHROPIC_EVENT, events_in
from tests.contract.recorded_providers import (
    SPEECHES,
    THOUGHT,
    RecordedHttp,
    call,
    completed,
    is_passed_through,
    provider_answering,
    recording,
    streamed,
)

Json = dict[str, Any]
ENDPOINTS: tuple[Endpoint, ...] = ("chat.completions", "responses", "messages")
MODES = pytest.mark.parametrize("stream", [False, True])
CLIENTS = pytest.mark.parametrize("endpoint", ENDPOINTS)
TOOL_SCHEMA = {"type": "object", "properties": {}}
TOOLS: dict[str, list[Json]] = {
    "chat.completions": [
        {"type": "function", "function": {"name": name, "parameters": TOOL_SCHEMA}} for name in ("clock", "sun")
    ],
    "responses": [{"type": "function", "name": name, "parameters": TOOL_SCHEMA} for name in ("clock", "sun")],
    "messages": [{"name": name, "input_schema": TOOL_SCHEMA} for name in ("clock", "sun")],
}
CALLED = (("clock", {"city": "Köln"}), ("sun", {}))


async def answered(provider: str, endpoint: Endpoint, feature: str, *, stream: bool) -> Json:
    """What the client holds: as it came, or gathered by its SDK."""
    asked = call(provider, endpoint, stream=stream)
    said = recording(provider, endpoint, feature, stream=stream).read_bytes()
    if not stream:
        return msgspec.json.decode((await completed(provider, asked, said)).body)
    pieces = await streamed(provider, asked, said)
    events = [event for _, event in events_in(b"".join(piece.data + piece.closing for piece in pieces))]
    match endpoint:
        case "chat.completions":
            state = ChatCompletionStreamState()
            for event in events[:-1]:
                state.handle_chunk(ChatCompletionChunk.model_validate_json(event))
            return _unparsed(state.current_completion_snapshot)
        case "responses":
            return msgspec.json.decode(events[-1])["response"]
        case _:
            snapshot = None
            buffers: dict[int, bytes] = {}
            for event in events:
                if msgspec.json.decode(event)["type"] != "ping":
                    decoded = ANTHROPIC_EVENT.validate_json(event)
                    snapshot = accumulate_event(event=decoded, current_snapshot=snapshot, json_bufs=buffers)
            assert snapshot is not None
            return snapshot.to_dict(mode="json", exclude_unset=True)


def _unparsed(completion: ChatCompletion) -> Json:
    body: Json = completion.to_dict(mode="json", exclude_unset=True)
    for tool in body["choices"][0]["message"].get("tool_calls") or ():
        tool["function"].pop("parsed_arguments", None)
    return body


def goes_on(endpoint: Endpoint, answer: Json) -> Json:
    """The next request: what was asked, the answer, the result of each call or the next question, in this order."""
    if endpoint == "chat.completions":
        message = answer["choices"][0]["message"]
        ids = [tool["id"] for tool in message.get("tool_calls") or ()]
        results: list[Json] = [{"role": "tool", "tool_call_id": ident, "content": f"of {ident}"} for ident in ids]
        further = results or [{"role": "user", "content": "And?"}]
        return {"messages": [{"role": "user", "content": "Hi"}, message, *further], "tools": TOOLS[endpoint]}
    if endpoint == "responses":
        ids = [item["call_id"] for item in answer["output"] if item["type"] == "function_call"]
        results = [{"type": "function_call_output", "call_id": ident, "output": f"of {ident}"} for ident in ids]
        further = results or [{"role": "user", "content": "And?"}]
        return {"input": [{"role": "user", "content": "Hi"}, *answer["output"], *further], "tools": TOOLS[endpoint]}
    ids = [block["id"] for block in answer["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": ident, "content": f"of {ident}"} for ident in ids]
    said = {"role": "assistant", "content": answer["content"]}
    user = {"role": "user", "content": results or "And?"}
    return {"messages": [{"role": "user", "content": "Hi"}, said, user], "tools": TOOLS[endpoint]}


async def sent_next(provider: str, endpoint: Endpoint, feature: str, *, stream: bool) -> Json:
    """What the provider gets when the conversation goes on."""
    answer = await answered(provider, endpoint, feature, stream=stream)
    asked = call(provider, endpoint, stream=False, **goes_on(endpoint, answer))
    prepared = provider_answering(provider, recording(provider, endpoint, "text", stream=False).read_bytes())
    http = prepared._http
    assert isinstance(http, RecordedHttp)
    await prepared.prepare(asked).complete()
    return msgspec.json.decode(http.sent[-1])


@CLIENTS
@MODES
async def test_anthropic_gets_its_thoughts_signed_and_hidden_and_its_calls(endpoint: Endpoint, stream: bool) -> None:
    _, said, results = (await sent_next("anthropic", endpoint, "thinking_and_tools", stream=stream))["messages"]

    wanted = msgspec.json.decode(recording("anthropic", "messages", "thinking_and_tools", stream=False).read_bytes())
    assert [_known(block) for block in said["content"]] == [_known(block) for block in wanted["content"]]
    ids = [block["id"] for block in wanted["content"] if block["type"] == "tool_use"]
    assert [block["tool_use_id"] for block in results["content"]] == ids


def _known(block: Json) -> Json:
    return {name: value for name, value in block.items() if value is not None and name != "citations"}


@CLIENTS
@MODES
async def test_gemini_gets_the_signature_of_its_call_and_ids_that_fit(endpoint: Endpoint, stream: bool) -> None:
    _, said, results = (await sent_next("google", endpoint, "thinking_and_tools", stream=stream))["contents"]

    calls = [part for part in said["parts"] if "functionCall" in part]
    assert [(part["functionCall"]["name"], part["functionCall"]["args"]) for part in calls] == list(CALLED)
    assert [part.get("thoughtSignature") for part in calls] == ["Eq0CCqoCY2FsbA==", None]
    ids = [part["functionCall"]["id"] for part in calls]
    answered = [part["functionResponse"] for part in results["parts"]]
    assert [(one["id"], one["response"]) for one in answered] == [(one, {"result": f"of {one}"}) for one in ids]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("endpoint", ["chat.completions", "responses"])
@MODES
async def test_gemini_gets_the_signature_of_its_text_where_the_client_has_a_place_for_it(
    endpoint: Endpoint, stream: bool
) -> None:
    """Anthropic's format has none. Gemini insists on those of calls only."""
    _, said, _ = (await sent_next("google", endpoint, "thinking", stream=stream))["contents"]

    assert [part["thoughtSignature"] for part in said["parts"] if "thoughtSignature" in part] == ["Eq0CCqoCdGV4dA=="]
    assert "".join(part["text"] for part in said["parts"]) == "Hello!"


@CLIENTS
@MODES
async def test_cohere_gets_its_thoughts_its_plan_and_its_calls(endpoint: Endpoint, stream: bool) -> None:
    _, said, *results = (await sent_next("cohere", endpoint, "thinking_and_tools", stream=stream))["messages"]

    assert said["tool_plan"] == "Let me look."
    assert said["content"] == [{"type": "thinking", "thinking": THOUGHT}]
    assert _called(said["tool_calls"]) == list(CALLED)
    assert [one["tool_call_id"] for one in results] == [one["id"] for one in said["tool_calls"]]


@CLIENTS
@MODES
@pytest.mark.parametrize("provider", ["openai", "compatible"])
async def test_openai_gets_its_calls(provider: str, endpoint: Endpoint, stream: bool) -> None:
    sent = await sent_next(provider, endpoint, "parallel_tools", stream=stream)

    if provider == "openai" and endpoint == "responses":
        calls = [item for item in sent["input"] if item.get("type") == "function_call"]
        called, ids = _called([{"id": item["call_id"], "function": item} for item in calls]), calls
        answered = [item["call_id"] for item in sent["input"] if item.get("type") == "function_call_output"]
        assert answered == [item["call_id"] for item in ids]
    else:
        _, said, *results = sent["messages"]
        called = _called(said["tool_calls"])
        assert [one["tool_call_id"] for one in results] == [one["id"] for one in said["tool_calls"]]
    assert called == list(CALLED)


def _called(calls: Sequence[Json]) -> list[tuple[str, Json]]:
    return [(one["function"]["name"], msgspec.json.decode(one["function"]["arguments"])) for one in calls]


SIGNATURES = {"anthropic": ("RXF3SUJ0aG91Z2h0", "RW1sZGRlbg=="), "google": ("Eq0CCqoCY2FsbA==",)}
HANDED_ON = [
    (first, then, endpoint)
    for first in ("anthropic", "google", "cohere", "compatible")
    for then in SPEECHES
    for endpoint in ENDPOINTS
    if first != then and (then == "anthropic" or not is_passed_through(then, endpoint))
]


@pytest.mark.parametrize(("first", "then", "endpoint"), HANDED_ON)
async def test_another_provider_may_go_on(first: str, then: str, endpoint: Endpoint) -> None:
    """Without the signatures of the first, which say nothing to it, and would be refused."""
    answer = await answered(first, endpoint, "thinking_and_tools", stream=False)
    asked = call(then, endpoint, stream=False, **goes_on(endpoint, answer))

    provider = provider_answering(then, recording(then, endpoint, "text", stream=False).read_bytes())
    http = provider._http
    assert isinstance(http, RecordedHttp)
    await provider.prepare(asked).complete()

    sent = http.sent[-1].decode()
    assert all(word in sent for word in ("Let me look.", "clock", "Köln", "sun", '"of '))
    assert all(signature in msgspec.json.encode(answer).decode() for signature in SIGNATURES.get(first, ()))
    assert not any(signature in sent for signature in SIGNATURES.get(first, ()))
