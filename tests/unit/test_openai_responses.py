"""OpenAI's own responses pass through as they came, measured on the way; whatever comes is an answer or an error."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from adapters.providers.openai.responses import ResponsesPassthrough
from adapters.providers.passthrough import Passthrough
from adapters.providers.vocabulary import ErrorInAnswer
from domain.pricing import Tokens
from domain.upstream import Reply
from tests.responses import CALL, FAILED, MESSAGE, RESPONSE, TOKENS, USAGE, call, call_of

PASSTHROUGH: Passthrough = ResponsesPassthrough()
ODD: list[dict[str, Any]] = [
    {"id": "ts_1", "type": "tool_search_call", "arguments": {"goal": "g"}, "call_id": None},
    {"id": "x", "type": "new_kind", "content": "?", "summary": 3},
]


def reply(**members: Any) -> Reply:
    return PASSTHROUGH.reply(msgspec.json.encode({**RESPONSE, **members}), call())


def test_a_request_goes_on_as_it_was_sent_and_is_never_stored() -> None:
    sent = b'{"model":"ours","input":[ {"role":"user","content":"a"}],"store":null,"temperature":null,"anything":1.0}'

    assert PASSTHROUGH.path == "/responses"
    assert PASSTHROUGH.request_body(call_of(sent)) == (
        b'{"model":"theirs","input":[ {"role":"user","content":"a"}],"anything":1.0,"store":false}'
    )


def test_the_sample_is_openais_own() -> None:
    Response.model_validate_json(msgspec.json.encode(RESPONSE), strict=True)


def test_a_reply_is_measured_and_passes_unchanged() -> None:
    body = msgspec.json.encode(RESPONSE)
    answered = PASSTHROUGH.reply(body, call())

    assert answered.body is body
    assert (answered.model, answered.finish_reason) == ("gpt-6-2026-10-01", "stop")
    assert answered.output_chars == len("Hm.Hello")
    assert answered.usage is not None
    assert answered.usage.tokens == TOKENS
    assert bytes(answered.usage.raw) == msgspec.json.encode(USAGE)


def test_a_reply_without_a_model_has_the_one_that_was_asked() -> None:
    assert reply(model=None).model == "theirs"


ENDS: list[tuple[dict[str, Any], str]] = [
    ({"output": [CALL]}, "tool_calls"),
    ({"output": [{"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "abc"}]}, "tool_calls"),
    ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
    ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [CALL]}, "length"),
    ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
    ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "stop"),
    ({"status": "incomplete"}, "length"),
    ({"status": None}, "stop"),
]


@pytest.mark.parametrize(("members", "reason"), ENDS)
def test_how_it_ended_is_told(members: dict[str, Any], reason: str) -> None:
    assert reply(**members).finish_reason == reason


def test_items_of_other_kinds_are_passed_over() -> None:
    answered = reply(output=[*ODD, CALL, MESSAGE])

    assert (answered.finish_reason, answered.output_chars) == ("tool_calls", len('{"a":1}Hello'))


USAGES: list[tuple[Any, Tokens | None]] = [
    (None, None),
    ({}, None),
    ("many", None),
    ({"input_tokens": -1, "output_tokens": 1}, None),
    ({"input_tokens": 1.5, "output_tokens": 1}, None),
    ({"input_tokens": 10**9 + 1, "output_tokens": 1}, None),
    ({"input_tokens": 5, "output_tokens": 6}, Tokens(input=5, output=6)),
    ({"input_tokens": 5}, Tokens(input=5)),
    ({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 9}}, Tokens(cached_input=5)),
    (
        {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 9}},
        Tokens(cached_input=3, cache_write_5m=2),
    ),
    ({"input_tokens": 5, "input_tokens_details": None}, Tokens(input=5)),
    ({"output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 9}}, Tokens(reasoning=5)),
    ({"output_tokens": 5, "output_tokens_details": {"reasoning_tokens": -9}}, Tokens(output=5)),
]


@pytest.mark.parametrize(("usage", "tokens"), USAGES)
def test_usage_is_exact_or_no_report(usage: Any, tokens: Tokens | None) -> None:
    report = reply(usage=usage).usage

    assert (report and report.tokens) == tokens


NO_ANSWERS = [
    (msgspec.json.encode(FAILED), "We broke.", "server_error"),
    (
        b'{"error":{"message":"Too much.","type":"requests","code":"rate_limit_exceeded"}}',
        "Too much.",
        "rate_limit_exceeded",
    ),
    (msgspec.json.encode({**RESPONSE, "status": "failed"}), "The provider failed to answer.", None),
    (msgspec.json.encode({**RESPONSE, "status": "queued"}), "The provider's answer is not a response.", None),
    (b'{"id":"resp_1"}', "The provider's answer is not a response.", None),
    (b"", "The provider's answer is not a response.", None),
    (b"<html>", "The provider's answer is not a response.", None),
    (b'{"output":[],"id":"\xff"}', "The provider's answer is not a response.", None),
    (b'{"output":[3]}', "The provider's answer is not a response.", None),
    (b'{"output":[{"type":"message","content":3}]}', "The provider's answer is not a response.", None),
    (b"[" * 100_000, "The provider's answer is not a response.", None),
]


@pytest.mark.parametrize(("body", "message", "code"), NO_ANSWERS)
def test_what_is_no_answer_is_an_error(body: bytes, message: str, code: str | None) -> None:
    with pytest.raises(ErrorInAnswer) as failure:
        PASSTHROUGH.reply(body, call())

    assert (str(failure.value), failure.value.code) == (message, code)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "content", "a"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(list(RESPONSE)), JSON))
def test_a_spoiled_answer_is_an_answer_or_an_error(spoiled: dict[str, Any]) -> None:
    with contextlib.suppress(ErrorInAnswer):
        reply(**spoiled)


@given(st.binary())
def test_any_bytes_are_an_error(body: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        PASSTHROUGH.reply(body, call())


@given(st.integers(0, len(msgspec.json.encode(RESPONSE)) - 1))
def test_a_truncated_answer_is_an_error(length: int) -> None:
    with pytest.raises(ErrorInAnswer):
        PASSTHROUGH.reply(msgspec.json.encode(RESPONSE)[:length], call())
