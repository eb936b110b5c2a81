import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects.messages.dialect import MessagesDialect
from domain.catalog import Model
from domain.errors import InvalidInput, UnsupportedParameter

DIALECT = MessagesDialect()
MODEL = Model(context_length=200_000, max_output_tokens=8_000)
TOOL = {"name": "look", "input_schema": {"type": "object"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
PICTURE = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}


def request(*content: Any, **members: Any) -> bytes:
    """One user message of these blocks, or with the members that are given."""
    messages = [{"role": "user", "content": list(content) or "Hi"}]
    return json.dumps({"model": "claude", "max_tokens": 100, "messages": messages, **members}).encode()


def refusal(body: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        DIALECT.check(body)
    return refused.value


def test_a_request_says_what_admission_must_know() -> None:
    checked = DIALECT.check(
        request({"type": "text", "text": "Grüße"}, PICTURE, system="Be kind.", tools=[TOOL], stream=True, top_k=None)
    )

    assert (checked.endpoint, checked.model, checked.stream, checked.include_usage) == (
        "messages",
        "claude",
        True,
        True,
    )
    assert (checked.output_limit, checked.entries, checked.images, checked.is_bounded) == (100, 3, 1, True)
    assert checked.text_bytes == len("Grüße".encode()) + len("Be kind.") + len("look") + len('{"type": "object"}')
    assert checked.max_output_tokens(MODEL) == 100
    assert set(checked.members) == {"model", "max_tokens", "messages", "system", "tools", "stream"}


def test_drop_params_is_said_to_the_gateway_only() -> None:
    checked = DIALECT.check(request(drop_params=True))

    assert checked.drop_params
    assert "drop_params" not in checked.members


@pytest.mark.parametrize(
    "block",
    [
        PDF,
        {"type": "document", "source": {"type": "url", "url": "https://a.example/b.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "tool_result", "tool_use_id": "t", "content": [PDF]},
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "something_of_next_year", "text": {"of": "another shape"}},
    ],
)
def test_what_its_size_does_not_bound_may_fill_the_model(block: dict[str, Any]) -> None:
    checked = DIALECT.check(request(block))

    assert not checked.is_bounded
    assert checked.input_bound(MODEL) == MODEL.context_length


@pytest.mark.parametrize(
    ("block", "text", "images"),
    [
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "abc"}}, 3, 0),
        ({"type": "document", "source": {"type": "content", "content": [PICTURE]}}, 0, 1),
        ({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "ab"}, PICTURE]}, 2, 1),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {}}, 3, 0),
        ({"type": "thinking", "thinking": "hmm", "signature": "s"}, 3, 0),
        ({"type": "redacted_thinking", "data": "x"}, 0, 0),
    ],
)
def test_text_and_images_are_counted_wherever_they_stand(block: dict[str, Any], text: int, images: int) -> None:
    checked = DIALECT.check(request(block))

    assert (checked.text_bytes, checked.images, checked.is_bounded) == (text, images, True)


def test_what_is_nested_without_end_is_not_followed() -> None:
    block: dict[str, Any] = {"type": "text", "text": "deep"}
    for _ in range(50):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}

    checked = DIALECT.check(request(block))

    assert (checked.text_bytes, checked.is_bounded) == (0, False)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "tools[0].type"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"fallbacks": "default"}, "fallbacks"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"speed": "fast"}, "speed"),
        ({"inference_geo": "us"}, "inference_geo"),
        (
            {"context_management": {"edits": [{"type": "clear_thinking"}, {"type": "compact_20260112"}]}},
            "context_management.edits[1].type",
        ),
    ],
)
def test_what_has_no_price_is_refused_by_its_name(members: dict[str, Any], field: str) -> None:
    refused = refusal(request(**members))

    assert isinstance(refused, UnsupportedParameter)
    assert refused.field == field
    assert str(refused).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [TOOL | {"type": "custom"}, TOOL | {"type": None}]},
        {"mcp_servers": None, "container": None},
        {"service_tier": "auto"},
        {"speed": "standard", "inference_geo": "global"},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]},
        {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
        {"metadata": {"user_id": None}, "diagnostics": {"previous_message_id": None}},
    ],
)
def test_what_the_price_knows_is_served(members: dict[str, Any]) -> None:
    assert DIALECT.check(request(**members)).model == "claude"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "model"),
        (request(model=""), "model"),
        (request(max_tokens=None), "max_tokens"),
        (request(max_tokens=0), "max_tokens"),
        (request(max_tokens="1"), "max_tokens"),
        (request(messages=[]), "messages"),
        (request(messages=[{"role": "tool", "content": "x"}]), "messages[0].role"),
        (request(messages=[{"role": "user", "content": None}]), "messages[0].content"),
        (request(temperature=1.5), "temperature"),
        (request(stop_sequences="x"), "stop_sequences"),
        (request(tool_choice={"type": "some"}), "tool_choice.type"),
        (request(tools=[{"name": "f"}]), "tools[0].input_schema"),
        (request(tools=[{"input_schema": {}}]), "tools[0].name"),
        (request({"type": "text"}), "messages[0].content[0].text"),
        (request(PICTURE, {"type": "image", "source": 1}), "messages[0].content[1].source"),
        (request({"text": "x"}), "messages[0].content[0].type"),
        (request(1), "messages[0].content[0]"),
        (request({"type": "tool_use", "id": "t", "name": "f", "input": "x"}), "messages[0].content[0].input"),
        (request(system=[{"type": "text", "text": 1}]), "system[0].text"),
        (
            request({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}),
            "messages[0].content[0].content[0].text",
        ),
        (
            request({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}),
            "messages[0].content[0].cache_control.ttl",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(body: bytes, field: str) -> None:
    refused = refusal(body)

    assert refused.field == field
    assert str(refused).startswith(f"{field}: ")


def test_a_wrong_time_to_live_is_told_what_would_be_right() -> None:
    refused = refusal(request({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}))

    assert str(refused).endswith("use 5m or 1h.")


def test_counting_needs_no_limit_of_the_output() -> None:
    body = json.loads(request(tools=[TOOL]))
    del body["max_tokens"]

    checked = DIALECT.check_count(json.dumps(body).encode())

    assert (checked.endpoint, checked.output_limit, checked.stream) == ("messages", None, False)
    assert refusal(json.dumps(body).encode()).field == "max_tokens"


def test_counting_refuses_what_the_message_would_be_refused_for() -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        DIALECT.check_count(request(tools=[{"type": "web_search_20250305", "name": "web_search"}]))

    assert refused.value.field == "tools[0].type"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BLOCK_TYPES = "text image document tool_use tool_result thinking redacted_thinking other".split()
BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(BLOCK_TYPES)},
    optional={
        name: JSON | st.builds(dict, type=st.sampled_from(["text", "content", "url"]), content=JSON, data=JSON)
        for name in "text source content input id name tool_use_id thinking data cache_control citations".split()
    },
)
MEMBERS = st.dictionaries(
    st.sampled_from("tools system thinking tool_choice output_config metadata stream cache_control x".split()), JSON
)


@given(st.binary() | st.tuples(st.lists(BLOCKS), MEMBERS))
def test_whatever_the_body_is_it_is_checked_or_refused(body: bytes | tuple[list[Any], dict[str, Any]]) -> None:
    sent = body if isinstance(body, bytes) else request(*body[0], **body[1])
    for check in (DIALECT.check, DIALECT.check_count):
        with suppress(InvalidInput):
            assert check(sent).model == "claude"
