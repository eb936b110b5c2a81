"""What a client may ask of `/responses`: every fault has one clear answer, and no bound is ever too low."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects.dialect import ClientRequest
from adapters.dialects.responses.dialect import ResponsesDialect
from domain.errors import InvalidInput, UnsupportedParameter
from tests.responses import body

check = ResponsesDialect().check
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
SENT_BEFORE = {"type": "item_reference", "id": "msg_1"}


def checked(**members: Any) -> ClientRequest:
    return check(body(**members))


def refusal_of(sent: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        check(sent)
    return refusal.value


def said(*content: Any, role: str = "user") -> list[Any]:
    return [{"role": role, "content": list(content)}]


def test_a_plain_request_is_known_by_what_it_says() -> None:
    request = checked(instructions="Be kind.", max_output_tokens=50, stream=True, tools=[FUNCTION])

    assert (request.endpoint, request.model, request.output_limit) == ("responses", "ours", 50)
    assert (request.stream, request.include_usage, request.drop_params) == (True, True, False)
    assert (request.entries, request.images, request.is_bounded) == (3, 0, True)
    assert request.text_bytes == len("Be kind.") + len("Hello") + len(b'{"type":"object"}')


def test_members_are_kept_as_they_were_sent_but_for_what_is_said_to_the_gateway() -> None:
    request = checked(drop_params=True, temperature=0.5, anything=[1])

    assert request.drop_params
    assert {name: bytes(value) for name, value in request.members.items()} == {
        "model": b'"ours"',
        "input": b'"Hello"',
        "temperature": b"0.5",
        "anything": b"[1]",
    }


CONVERSATION: list[Any] = [
    {"role": "developer", "content": "é"},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "abc"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "ab"}], "encrypted_content": "x"},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "abcd"}]},
    {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "xyz"},
    {"type": "custom_tool_call_output", "call_id": "c2", "output": "w"},
]


def test_every_text_of_a_conversation_counts() -> None:
    request = checked(input=CONVERSATION)

    assert request.text_bytes == 2 + 3 + 2 + len("f{}") + 4 + 2 + len("gxyz") + 1
    assert request.entries == len(CONVERSATION)


@pytest.mark.parametrize("place", ["content", "output"])
def test_images_are_counted_and_files_have_no_bound(place: str) -> None:
    image = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}
    item: dict[str, Any] = {"role": "user"} if place == "content" else {"type": "function_call_output", "call_id": "c"}

    assert checked(input=[{**item, place: [image, image]}]).images == 2
    assert not checked(input=[{**item, place: [{"type": "input_file", "file_id": "f"}]}]).is_bounded


BAD = [
    (b'{"input":"a"}', "model"),
    (b'{"model":"m"}', "input"),
    (body(model=""), "model"),
    (body(input=[]), "input"),
    (body(input=3), "input"),
    (body(input=[3]), "input[0]"),
    (body(input=[{"role": "robot", "content": "a"}]), "input[0].role"),
    (body(input=[{"role": "user"}]), "input[0].content"),
    (body(input=[{"type": "message", "content": "a"}]), "input[0].role"),
    (body(input=said({"type": "text", "text": "a"})), "input[0].content[0].type"),
    (body(input=said({"type": "input_text"})), "input[0].content[0].text"),
    (body(max_output_tokens=0), "max_output_tokens"),
    (body(temperature=3), "temperature"),
    (body(top_p=2), "top_p"),
    (body(top_logprobs=21), "top_logprobs"),
    (body(truncation="often"), "truncation"),
    (body(metadata={"a": 1}), "metadata[...]"),
    (body(tools=[{"type": "function"}]), "tools[0].name"),
    (body(stream="yes"), "stream"),
    (body(include="all"), "include"),
]


@pytest.mark.parametrize(("sent", "field"), BAD)
def test_a_fault_is_named_by_its_place(sent: bytes, field: str) -> None:
    refusal = refusal_of(sent)

    assert refusal.field == field
    assert str(refusal).startswith(f"{field}: ")


NOT_SERVED = [
    ({"previous_response_id": "resp_1"}, "previous_response_id", "whole conversation in `input`"),
    ({"conversation": "conv_1"}, "conversation", "whole conversation in `input`"),
    ({"background": True}, "background", "leave it out"),
    ({"background_options": {"completion_window": "2h"}}, "background_options", "leave it out"),
    ({"context_management": [{"type": "compaction"}]}, "context_management", "leave it out"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt", "`instructions` and `input`"),
    ({"store": True}, "store", "send false"),
    ({"service_tier": "flex"}, "service_tier", "`auto` and `default`"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "`standard`"),
    ({"prompt_cache_options": {"ttl": "12h"}}, "prompt_cache_options.ttl", "`30m`"),
    ({"input": [SENT_BEFORE]}, "input[0].type", "send the item itself"),
    ({"input": [{"id": "msg_1"}]}, "input[0].type", "send the item itself"),
    ({"input": [{"type": "web_search_call", "id": "ws"}]}, "input[0].type", "use message"),
    ({"input": [{"type": "additional_tools", "role": "developer", "tools": []}]}, "input[0].type", "use message"),
    ({"input": [{"type": "computer_call_output", "output": {"type": "a"}}]}, "input[0].type", "use message"),
    (
        {"input": said({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"ttl": "12h"}})},
        "input[0].content[0].prompt_cache_breakpoint.ttl",
        "`30m`",
    ),
    *(
        ({"tools": [FUNCTION, {"type": kind}]}, "tools[1].type", "use `function`")
        for kind in ("web_search", "file_search", "code_interpreter", "computer", "image_generation", "mcp", "shell")
    ),
]


@pytest.mark.parametrize(("members", "field", "remedy"), NOT_SERVED)
def test_what_is_not_served_is_refused_by_name_with_a_remedy(members: dict[str, Any], field: str, remedy: str) -> None:
    refusal = refusal_of(body(**members))

    assert isinstance(refusal, UnsupportedParameter)
    assert refusal.field == field
    assert remedy in str(refusal)


def test_what_says_that_nothing_is_stored_is_welcome() -> None:
    nothing = dict.fromkeys(("previous_response_id", "conversation", "prompt", "background_options"))

    assert checked(store=False, background=False, service_tier="auto", **nothing)


def test_tools_of_a_provider_that_need_no_price_are_left_to_it() -> None:
    assert checked(tools=[{"type": "custom", "name": "g"}], input=CONVERSATION)


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b"null", b'{"model":"\xff","input":"a"}', b"[" * 100_000])
def test_what_is_no_request_is_refused(sent: bytes) -> None:
    assert refusal_of(sent)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "role", "a"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["input", "tools", "text", "reasoning", "tool_choice", "include"]), JSON))
def test_whatever_is_sent_is_a_request_or_refused(members: dict[str, Any]) -> None:
    try:
        request = check(msgspec.json.encode({"model": "m", "input": "a", **members}))
    except InvalidInput:
        return
    assert request.text_bytes >= 0
