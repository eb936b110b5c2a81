"""Every provider for every client: the answer is what the client's own SDK reads, and says what the provider said."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from domain.errors import ProviderBroken
from domain.pricing import Tokens
from domain.upstream import Endpoint, Usage
from tests.contract.client_answers import FINISHES, Told, told_streamed, told_whole
from tests.contract.recorded_providers import (
    CHAT_ENDPOINTS,
    FEATURES,
    SPEECHES,
    call,
    completed,
    expected,
    expected_tokens,
    is_passed_through,
    recording,
    streamed,
)

Json = dict[str, Any]
CASES: list[tuple[str, Endpoint, str]] = [
    (provider, endpoint, feature)
    for provider in SPEECHES
    for endpoint in CHAT_ENDPOINTS
    for feature in FEATURES
    if recording(provider, endpoint, feature, stream=False).exists()
]
TRANSLATED = [(provider, endpoint) for provider in SPEECHES for endpoint in CHAT_ENDPOINTS]


def openais(raw: Json) -> tuple[int, int]:
    prompt, completion = raw.get("prompt_tokens"), raw.get("completion_tokens")
    return (raw["input_tokens"], raw["output_tokens"]) if prompt is None else (prompt, completion or 0)


def anthropics(raw: Json) -> tuple[int, int]:
    inputs = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(raw[name] for name in inputs), raw["output_tokens"]


def googles(raw: Json) -> tuple[int, int]:
    return raw["promptTokenCount"], raw["totalTokenCount"] - raw["promptTokenCount"]


def coheres(raw: Json) -> tuple[int, int]:
    return raw["billed_units"]["input_tokens"], raw["billed_units"]["output_tokens"]


TOTALS: dict[str, Callable[[Json], tuple[int, int]]] = {
    "openai": openais,
    "compatible": openais,
    "anthropic": anthropics,
    "google": googles,
    "cohere": coheres,
}
USAGE_MEMBER = {"google": "usageMetadata"}


def told_as_expected(provider: str, endpoint: Endpoint, feature: str) -> Told:
    wanted, tokens = expected(provider, feature), expected_tokens(provider, feature)
    finish = FINISHES[endpoint][wanted.finish]
    words, thinking, tools = wanted.words, wanted.thinking, wanted.tools
    if feature == "refusal" and endpoint == "messages":
        finish = "refusal"
    if feature == "refusal" and provider == "anthropic" and endpoint == "messages":
        words = ""
    if endpoint == "completions":
        thinking, tools = "", ()
    usage = (tokens.prompt, tokens.completion, tokens.cached_input, tokens.reasoning)
    return Told(words=words, thinking=thinking, tools=tools, finish=finish, usage=usage)


def assert_accounted(provider: str, feature: str, usage: Usage | None, tokens: Tokens) -> None:
    """Each token in one class, and together what the provider counts."""
    assert usage is not None
    assert usage.tokens == tokens == expected_tokens(provider, feature)
    assert (tokens.prompt, tokens.completion) == TOTALS[provider](msgspec.json.decode(usage.raw))


@pytest.mark.parametrize(("provider", "endpoint", "feature"), CASES)
async def test_a_whole_answer_is_what_was_said(provider: str, endpoint: Endpoint, feature: str) -> None:
    body = recording(provider, endpoint, feature, stream=False).read_bytes()

    reply = await completed(provider, call(provider, endpoint, stream=False), body)

    assert told_whole(endpoint, reply.body) == told_as_expected(provider, endpoint, feature)
    assert reply.usage is not None
    assert_accounted(provider, feature, reply.usage, reply.usage.tokens)
    said = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    assert bytes(reply.usage.raw) == bytes(said[USAGE_MEMBER.get(provider, "usage")])
    assert (reply.body == body) == is_passed_through(provider, endpoint)


@pytest.mark.parametrize(("provider", "endpoint", "feature"), CASES)
async def test_a_streamed_answer_is_the_whole_one(provider: str, endpoint: Endpoint, feature: str) -> None:
    at_once = recording(provider, endpoint, feature, stream=False).read_bytes()
    in_time = recording(provider, endpoint, feature, stream=True).read_bytes()

    reply = await completed(provider, call(provider, endpoint, stream=False), at_once)
    pieces = await streamed(provider, call(provider, endpoint, stream=True), in_time)

    sent = b"".join(piece.data + piece.closing for piece in pieces)
    assert told_streamed(endpoint, sent) == told_as_expected(provider, endpoint, feature)
    assert told_streamed(endpoint, sent) == told_whole(endpoint, reply.body)
    usage = [piece.usage for piece in pieces if piece.usage][-1]
    assert reply.usage is not None
    assert_accounted(provider, feature, usage, reply.usage.tokens)
    finishes = [piece.finish_reason for piece in pieces if piece.finish_reason]
    assert finishes[-1] == reply.finish_reason
    assert next((piece.model for piece in pieces if piece.model), SPEECHES[provider][1]) == reply.model
    assert [bool(piece.closing) for piece in pieces] == [False] * (len(pieces) - 1) + [True]


@pytest.mark.parametrize(("provider", "endpoint"), TRANSLATED)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_with_a_good_status_is_none_of_the_clients_answers(
    provider: str, endpoint: Endpoint, stream: bool
) -> None:
    """A provider of the endpoint's own format says its errors in one of its own places."""
    path = recording(provider, "chat.completions", "error", stream=stream)
    asked = call(provider, endpoint, stream=stream)

    with pytest.raises(ProviderBroken, match=r"^The server is overloaded\.$"):
        await (streamed if stream else completed)(provider, asked, path.read_bytes())


@pytest.mark.parametrize("endpoint", CHAT_ENDPOINTS)
@pytest.mark.parametrize("provider", SPEECHES)
async def test_a_stream_that_is_cut_never_ends_well(provider: str, endpoint: Endpoint) -> None:
    whole = recording(provider, endpoint, "text", stream=True).read_bytes()
    cut = whole[: whole.rindex(b"data:", 0, len(whole) * 2 // 3)]

    with pytest.raises(ProviderBroken, match="without its end mark"):
        await streamed(provider, call(provider, endpoint, stream=True), cut)


@pytest.mark.parametrize("provider", ["openai", "compatible", "google", "cohere"])
async def test_how_likely_each_word_was_is_told_where_the_client_has_a_place_for_it(provider: str) -> None:
    body = recording(provider, "chat.completions", "logprobs", stream=False).read_bytes()
    stream = recording(provider, "chat.completions", "logprobs", stream=True).read_bytes()

    chat = await completed(provider, call(provider, "chat.completions", stream=False), body)
    pieces = await streamed(provider, call(provider, "chat.completions", stream=True), stream)

    [choice] = msgspec.json.decode(chat.body)["choices"]
    scored = [(one["token"], one["logprob"]) for one in choice["logprobs"]["content"]]
    assert scored == [("Hi", -0.25), (" there", -0.5)]
    chunks = [msgspec.json.decode(event[6:]) for piece in pieces for event in piece.data.split(b"\n\n") if event]
    told = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]]
    assert [(one["token"], one["logprob"]) for logprobs in told for one in logprobs["content"]] == scored


def test_every_feature_is_recorded_for_every_provider_that_has_it() -> None:
    lacking = {
        (provider, feature)
        for provider in SPEECHES
        for feature in FEATURES
        if not recording(provider, "chat.completions", feature, stream=True).exists()
    }

    assert lacking == {
        ("openai", "thinking"),
        ("openai", "thinking_and_tools"),
        ("compatible", "refusal"),
        ("anthropic", "content_filter"),
        ("anthropic", "logprobs"),
        ("cohere", "refusal"),
        ("cohere", "content_filter"),
    }
