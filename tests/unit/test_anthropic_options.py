"""What is asked of Anthropic beside the conversation."""

from typing import Any

import msgspec
import pytest
from anthropic.types import MessageCreateParams
from pydantic import TypeAdapter

from adapters.providers.anthropic import HEADERS, AnthropicVocabulary
from domain.chat import ChatAsk, Expressible, Reasoning, Text, Turn
from domain.errors import InvalidInput, UnsupportedParameter

_params: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)
TURNS = (Turn(role="user", parts=(Text(text="Hi"),)),)
OLD, NEW = "claude-sonnet-4-5", "claude-opus-5"
NAMES = {"max_output_tokens": "max_completion_tokens", "reasoning": "reasoning_effort"}


def body_of(ask: ChatAsk, expressible: Expressible) -> dict[str, Any]:
    """Checked against the vendor's own type."""
    body = msgspec.json.decode(AnthropicVocabulary().request_body(ask, expressible))
    _params.validate_python(body)
    return body


def body(model: str = OLD, **options: Any) -> dict[str, Any]:
    return body_of(ChatAsk(model=model, turns=TURNS, **options), Expressible("Anthropic", NAMES, drop=False))


def refused(model: str, **options: Any) -> str | None:
    """The name of what is refused; the same is dropped, and told, where the client allows it."""
    ask = ChatAsk(model=model, turns=TURNS, **options)
    with pytest.raises(UnsupportedParameter) as refusal:
        body_of(ask, Expressible("Anthropic", NAMES, drop=False))
    forgiving = Expressible("Anthropic", NAMES, drop=True)
    body_of(ask, forgiving)
    assert forgiving.dropped == [refusal.value.field]
    return refusal.value.field


def test_the_api_is_asked_in_the_version_that_still_knows_temperature() -> None:
    assert HEADERS == {"anthropic-version": "2023-06-01"}
    assert AnthropicVocabulary().path(ChatAsk(model=OLD, turns=TURNS)) == "/v1/messages"


def test_a_plain_question_says_no_more_than_it_must() -> None:
    assert body(max_output_tokens=64) == {
        "model": OLD,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-5-haiku-20241022", 8_192),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-haiku-4-5-20251001", 64_000),
        ("claude-opus-4-5", 64_000),
        ("claude-sonnet-4-6", 128_000),
        ("claude-opus-5-5", 128_000),
        ("claude-next-9", 128_000),
    ],
)
def test_without_a_limit_the_model_may_say_all_it_can(model: str, limit: int) -> None:
    assert body(model)["max_tokens"] == limit


def test_what_anthropic_knows_is_said_in_its_words() -> None:
    made = body(
        stream=True,
        temperature=0.5,
        top_k=5,
        stop=("END", "\n\nHuman:"),
        user="u1",
        service_tier="default",
        extras={"cache_control": msgspec.Raw(b'{"type":"ephemeral","ttl":"1h"}')},
    )

    assert made | {"model": "", "messages": []} == {
        "model": "",
        "max_tokens": 64_000,
        "messages": [],
        "stream": True,
        "temperature": 0.5,
        "top_k": 5,
        "stop_sequences": ["END", "\n\nHuman:"],
        "metadata": {"user_id": "u1"},
        "service_tier": "standard_only",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }


@pytest.mark.parametrize("temperature", [0, 0.3, 0.999])
def test_a_temperature_below_one_is_said(temperature: float) -> None:
    assert body(temperature=temperature)["temperature"] == temperature


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1},
        {"top_p": 1.0},
        {"n": 1},
        {"logprobs": False},
        {"top_logprobs": 0},
        {"presence_penalty": 0.0, "frequency_penalty": 0},
        {"logit_bias": msgspec.Raw(b"{}")},
        {"metadata": msgspec.Raw(b"{}")},
        {"parallel_tool_calls": True},
        {"parallel_tool_calls": False},
    ],
)
def test_what_every_model_does_anyway_needs_no_words(options: dict[str, Any]) -> None:
    for model in (OLD, NEW):
        assert body(model, **options) == body(model)


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-7",
        "claude-opus-4-8",
        "claude-opus-5",
        "claude-opus-5-5",
        "claude-sonnet-5",
        "claude-sonnet-5-5",
        "claude-haiku-5-5",
        "claude-fable-5-1",
        "claude-mythos-5",
        "claude-mythos-preview",
        "claude-next-9",
    ],
)
@pytest.mark.parametrize(("option", "value"), [("temperature", 0.5), ("top_p", 0.9), ("top_k", 5)])
def test_newer_models_are_not_asked_to_sample(model: str, option: str, value: float) -> None:
    assert refused(model, **{option: value}) == option


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"temperature": 1.1}, "temperature"),
        ({"temperature": 0.5, "top_p": 0.9}, "top_p"),
        ({"n": 2}, "n"),
        ({"seed": 7}, "seed"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"frequency_penalty": -0.1}, "frequency_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": msgspec.Raw(b'{"7":1}')}, "logit_bias"),
        ({"verbosity": "low"}, "verbosity"),
        ({"stop": ("END", " \n")}, "stop"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"extras": {"speed": msgspec.Raw(b'"fast"')}}, "speed"),
        ({"extras": {"mcp_servers": msgspec.Raw(b"[]")}}, "mcp_servers"),
    ],
)
def test_what_anthropic_has_no_words_for_is_refused_by_its_name(options: dict[str, Any], name: str) -> None:
    assert refused(OLD, **options) == name


def test_stop_sequences_with_a_word_remain_when_others_are_dropped() -> None:
    ask = ChatAsk(model=OLD, turns=TURNS, stop=("END", "\n"))

    assert body_of(ask, Expressible("Anthropic", {}, drop=True))["stop_sequences"] == ["END"]


def test_metadata_may_name_the_user() -> None:
    assert body(metadata=msgspec.Raw(b'{"user_id":"u1"}'))["metadata"] == {"user_id": "u1"}


@pytest.mark.parametrize("metadata", [b'{"team":"a"}', b'{"user_id":7}', b"{}"])
def test_other_metadata_and_where_to_look_in_a_cache_are_passed_over(metadata: bytes) -> None:
    assert body(metadata=msgspec.Raw(metadata), prompt_cache_key="k") == body()
    assert body(metadata=msgspec.Raw(metadata), user="u1")["metadata"] == {"user_id": "u1"}


@pytest.mark.parametrize("name", ["thinking", "cache_control"])
@pytest.mark.parametrize("garbage", [b"7", b'{"type":"other"}', b'{"type":"\xff"}', b'{"type":"ephemeral","beta":1}'])
def test_anthropics_own_words_must_be_its_own(name: str, garbage: bytes) -> None:
    with pytest.raises(InvalidInput) as refusal:
        body(extras={name: msgspec.Raw(garbage)})

    assert refusal.value.field == name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"top_k": 5}, "top_k"),
        ({"top_p": 0.9}, "top_p"),
    ],
)
def test_a_model_that_thinks_does_not_sample(options: dict[str, Any], name: str) -> None:
    thinks = Reasoning(effort="low")

    assert refused("claude-sonnet-4-6", reasoning=thinks, **options) == name
    assert body("claude-sonnet-4-6", reasoning=Reasoning(effort="none"), **options)[name] == options[name]
    assert body("claude-sonnet-4-6", reasoning=thinks, top_p=0.96)["top_p"] == 0.96
