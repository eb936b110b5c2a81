"""What a client may send: every fault has one clear answer, and no bound is ever too low."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects.chat_completions.check import check
from adapters.dialects.dialect import ENTRY_TOKENS, IMAGE_TOKENS_BOUND
from domain.catalog import Model
from domain.errors import InvalidInput, UnsupportedParameter

MODEL = Model("m", "sim", "m", context_length=1_000_000, max_output_tokens=4_096)
HELLO = {"role": "user", "content": "Hello"}


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [HELLO], **members}).encode()


def with_part(part: object) -> bytes:
    return body(messages=[{"role": "user", "content": [part]}])


def refusal_of(raw: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        check(raw)
    return refusal.value


BAD_MEMBERS = [
    (b'{"messages":[{"role":"user","content":"a"}]}', "model", "missing required field"),
    (b'{"model":"m"}', "messages", "missing required field"),
    (body(model=""), "model", "length >= 1"),
    (body(model="m" * 201), "model", "length <= 200"),
    (body(model=None), "model", "Expected `str`"),
    (body(messages=[]), "messages", "length >= 1"),
    (body(messages="Hello"), "messages", "Expected `array`"),
    (body(messages=[HELLO, 3]), "messages[1]", "Expected `object`"),
    (body(messages=[{"content": "a"}]), "messages[0].role", "missing required field"),
    (body(messages=[HELLO, {"role": "robot"}]), "messages[1].role", "system, developer, user, assistant or tool"),
    (body(messages=[{"role": "user", "content": 3}]), "messages[0].content", "Expected `str | array | null`"),
    (with_part({}), "messages[0].content[0].type", "missing required field"),
    (with_part({"type": "video"}), "messages[0].content[0].type", "text, image_url, input_audio, file or refusal"),
    (with_part({"type": "text"}), "messages[0].content[0].text", "missing required field"),
    (
        with_part({"type": "image_url", "image_url": {"url": "x", "detail": "big"}}),
        "messages[0].content[0].image_url.detail",
        "auto, low or high",
    ),
    (body(max_tokens=0), "max_tokens", ">= 1"),
    (body(max_tokens="9"), "max_tokens", "Expected `int | null`, got `str`"),
    (body(max_completion_tokens=-1), "max_completion_tokens", ">= 1"),
    (body(n=0), "n", ">= 1"),
    (body(n=129), "n", "<= 128"),
    (body(temperature=2.1), "temperature", "<= 2"),
    (body(top_p=-0.1), "top_p", ">= 0"),
    (body(presence_penalty=3), "presence_penalty", "<= 2"),
    (body(frequency_penalty=-3), "frequency_penalty", ">= -2"),
    (body(stop=[1]), "stop[0]", "Expected `str`"),
    (body(tools=[{}, 3]), "tools[1]", "Expected `object`"),
    (body(tool_choice=3), "tool_choice", "Expected `str | object | null`"),
    (body(response_format="json"), "response_format", "Expected `object | null`"),
    (body(stream="yes"), "stream", "Expected `bool | null`"),
    (body(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage", "Expected `bool | null`"),
    (body(stream_options={}), "stream_options", "only allowed when `stream` is true"),
    (body(drop_params="yes"), "drop_params", "Expected `bool | null`"),
    (body(top_logprobs=21), "top_logprobs", "<= 20"),
    (body(seed=1).replace(b"1}", b"1" + b"0" * 5_000 + b"}"), "seed", "out of range"),
    (body(temperature=1).replace(b"1}", b"1e999}"), "temperature", "out of range"),
]


@pytest.mark.parametrize(("raw", "field", "remedy"), BAD_MEMBERS)
def test_a_bad_member_gives_one_error_that_names_it_and_what_would_be_accepted(
    raw: bytes, field: str, remedy: str
) -> None:
    refusal = refusal_of(raw)

    assert refusal.field == field
    assert str(refusal).startswith(f"{field}: ")
    assert remedy in str(refusal)


NOT_PRICED = [
    (body(audio={"voice": "alloy"}), "audio"),
    (body(web_search_options={}), "web_search_options"),
    (body(prediction={}), "prediction"),
    (body(functions=[]), "functions"),
    (body(function_call="auto"), "function_call"),
    (body(service_tier="flex"), "service_tier"),
    (body(modalities=["text", "audio"]), "modalities"),
]


@pytest.mark.parametrize(("raw", "field"), NOT_PRICED)
def test_what_no_price_knows_is_refused_by_name(raw: bytes, field: str) -> None:
    refusal = refusal_of(raw)

    assert isinstance(refusal, UnsupportedParameter)
    assert refusal.field == field
    assert str(refusal).startswith(f"{field}: ")


@pytest.mark.parametrize("name", ["audio", "functions", "service_tier", "modalities", "stream_options", "max_tokens"])
def test_null_says_nothing(name: str) -> None:
    request = check(body(**{name: None}))

    assert request.max_output_tokens(MODEL) == 4_096
    assert set(request.members) == {"model", "messages"}


DEEP = 200_000
NO_JSON = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"Hello", "not valid JSON"),
    (body() + b" x", "not valid JSON"),
    (body(temperature=float("nan")), "not valid JSON"),
    (body(logit_bias={"1": float("inf")}), "not valid JSON"),
    (body(messages=[{"role": "assistant", "tool_calls": [{"x": float("nan")}]}]), "not valid JSON"),
    (body(user="\ud800"), "not valid JSON"),
    (body(user="X").replace(b"X", b"\xff"), "not UTF-8"),
    (body(whatever="X").replace(b"X", b"\xff"), "not UTF-8"),
    (body().decode().encode("utf-16"), "not UTF-8"),
    (body(whatever=0).replace(b"0}", b"[" * DEEP), "nested too deeply"),
    (body(tools=[{"x": 0}]).replace(b"0}", b"[" * DEEP + b"]" * DEEP + b"}"), "nested too deeply"),
    (b"[]", "Expected `object`"),
    (b"null", "Expected `object`"),
]


@pytest.mark.parametrize(("raw", "said"), NO_JSON, ids=range(len(NO_JSON)))
def test_a_body_that_is_no_request_at_all_says_what_is_wrong_with_it(raw: bytes, said: str) -> None:
    refusal = refusal_of(raw)

    assert refusal.field is None
    assert said in str(refusal)
    assert "<" not in str(refusal)


@given(
    st.binary() | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_whatever_the_bytes_the_answer_is_a_request_or_one_refusal(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        check(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(), lambda inner: st.lists(inner, max_size=3)
)
MEMBERS = st.dictionaries(
    st.sampled_from(["model", "messages", "n", "stop", "stream", "stream_options", "tools", "seed", "x"]),
    JSON | st.just([HELLO]),
)


@given(MEMBERS)
def test_whatever_the_members_the_answer_is_a_request_or_one_refusal(members: dict[str, Any]) -> None:
    try:
        request = check(body(**members))
    except InvalidInput as refusal:
        assert refusal.field or "JSON" in str(refusal)
    else:
        assert request.max_output_tokens(MODEL) >= 1
        assert set(request.members) == {"model", "messages"} | {name for name in members if members[name] is not None}


def test_of_a_key_that_comes_twice_the_same_value_is_checked_and_sent() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":1,"max_tokens":4000}'

    request = check(raw)

    assert request.max_output_tokens(MODEL) == 4_000
    assert request.members["max_tokens"] == msgspec.Raw(b"4000")


def test_members_that_the_gateway_does_not_know_are_kept_as_they_are() -> None:
    members = check(body().replace(b'"model"', b'"logit_bias": {"50256" : -100.0},"model"')).members

    assert bytes(members["logit_bias"]) == b'{"50256" : -100.0}'


LIMITS = [
    ({}, 4_096),
    ({"max_tokens": 10}, 10),
    ({"max_completion_tokens": 10}, 10),
    ({"max_tokens": 10**30}, 4_096),
    ({"max_tokens": 10, "max_completion_tokens": 20}, 20),
    ({"max_tokens": 20, "max_completion_tokens": 10}, 20),
]


@pytest.mark.parametrize(("members", "limit"), LIMITS)
def test_the_output_limit_is_the_most_that_any_provider_may_make_of_it(members: dict[str, int], limit: int) -> None:
    assert check(body(**members)).max_output_tokens(MODEL) == limit


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4)


@given(TEXTS, st.booleans())
def test_the_input_bound_is_no_less_than_the_bytes_of_all_text_however_it_is_escaped(
    texts: list[str], ascii_only: bool
) -> None:
    """No tokenizer makes more tokens than there are bytes, and a few for each message."""
    messages = [{"role": "user", "content": text} for text in texts]
    raw = json.dumps({"model": "m", "messages": messages}, ensure_ascii=ascii_only).encode()

    request = check(raw)
    bound = request.input_bound(MODEL)

    assert bound >= sum(len(text.encode()) + ENTRY_TOKENS for text in texts)
    assert 1 <= request.input_estimate() <= bound


def test_tools_and_whatever_else_is_sent_count_in_the_bound() -> None:
    raw = body(tools=[{"type": "function", "function": {"name": "f", "description": "d" * 5_000}}])

    assert check(raw).input_bound(MODEL) > 5_000


def test_an_image_counts_as_the_most_that_any_provider_makes_of_one() -> None:
    raw = with_part({"type": "image_url", "image_url": {"url": "https://x/y.png"}})

    assert check(raw).input_bound(MODEL) == len(raw) + ENTRY_TOKENS + IMAGE_TOKENS_BOUND


@pytest.mark.parametrize("kind", ["file", "input_audio"])
def test_what_cannot_be_measured_counts_as_all_that_the_model_holds(kind: str) -> None:
    raw = with_part({"type": kind, kind: {"data": "…"}})

    assert check(raw).input_bound(MODEL) == MODEL.context_length


def test_no_bound_is_higher_than_what_the_model_holds() -> None:
    small = Model("m", "sim", "m", context_length=10, max_output_tokens=5)

    assert check(body()).input_bound(small) == 10


def test_the_estimate_counts_text_in_every_form() -> None:
    parts = [{"type": "text", "text": "x" * 40}, {"type": "image_url", "image_url": {"url": "u" * 999}}]

    request = check(body(messages=[{"role": "user", "content": parts}, {"role": "user", "content": "y" * 41}]))

    assert request.input_estimate() == 21


def test_the_estimate_counts_bytes_as_tokenizers_do() -> None:
    assert check(body(messages=[{"role": "user", "content": "ж" * 40}])).input_estimate() == 20


def test_what_is_said_to_the_gateway_only_goes_no_further() -> None:
    request = check(body(drop_params=True))

    assert request.drop_params
    assert "drop_params" not in request.members


SAID = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 3,
    "tools": [{"type": "function", "function": {"name": "f"}}],
}


def test_what_admission_must_know_is_found() -> None:
    request = check(body(**SAID))

    assert (request.endpoint, request.model) == ("chat.completions", "m")
    assert (request.stream, request.include_usage, request.drop_params) == (True, True, False)
    assert (request.choices, request.entries, request.images) == (3, 2, 0)
    assert request.body_bytes == len(body(**SAID))
    assert request.text_bytes == len("Hello") + len(request.members["tools"])


@pytest.mark.parametrize("ttl", [None, "30m"])
def test_a_cache_is_kept_as_long_as_is_priced(ttl: str | None) -> None:
    mark = {"mode": "explicit", "ttl": ttl}

    assert check(body(prompt_cache_options={"ttl": ttl})).entries == 1
    assert check(with_part({"type": "text", "text": "a", "prompt_cache_breakpoint": mark})).entries == 1
    long = {"mode": "explicit", "ttl": "12h"}
    marked = with_part({"type": "text", "text": "a", "prompt_cache_breakpoint": long})
    assert refusal_of(body(prompt_cache_options=long)).field == "prompt_cache_options.ttl"
    assert refusal_of(marked).field == "messages[0].content[0].prompt_cache_breakpoint.ttl"
