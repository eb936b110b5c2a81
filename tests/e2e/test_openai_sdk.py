"""OpenAI's own SDK against the running program: with the simulated provider, and with one behind HTTP."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from domain.money import nanos_from_usd
from tests.e2e.people import client_of, ended_request, make_key, register
from tests.e2e.running import Program, until
from tests.e2e.upstream import KEY, Upstream, upstream

MODEL = "gpt-4o-mini"
INPUT_NANOS, OUTPUT_NANOS = 150, 600
"""Of one token of that model, in nano-USD."""


@pytest.fixture(scope="module")
def provider() -> Generator[Upstream, None, None]:
    with upstream() as running:
        yield running


@pytest.fixture(scope="module")
def environ(provider: Upstream) -> dict[str, str]:
    return {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": KEY}


def asks(content: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": content}]


@contextmanager
def sdk(program: Program, key: str = "", **options: Any) -> Generator[tuple[OpenAI, list[str]], None, None]:
    """The client, and the path of each request that it sends, retries too."""
    sent: list[str] = []

    def note(request: Any) -> None:
        sent.append(request.url.path)

    with (
        openai.DefaultHttpxClient(trust_env=False, event_hooks={"request": [note]}) as http,
        OpenAI(
            base_url=f"{program.base_url}/v1", api_key=key or program.api_key, http_client=http, **options
        ) as client,
    ):
        yield client, sent


# The SDK and the simulated provider.


def test_a_completion_is_the_sdks_own_object(program: Program) -> None:
    with sdk(program) as (client, _):
        reply = client.chat.completions.create(model="sim/echo", messages=asks("Hello"), max_tokens=5)

    assert reply.choices[0].message.role == "assistant"
    assert len((reply.choices[0].message.content or "").split()) == 5
    assert reply.usage
    assert reply.usage.completion_tokens == 5


def test_a_stream_gives_the_same_text_piece_by_piece(program: Program) -> None:
    with sdk(program) as (client, _):
        whole = client.chat.completions.create(model="sim/echo", messages=asks("Hello"))
        chunks = list(client.chat.completions.create(model="sim/echo", messages=asks("Hello"), stream=True))

    assert len(chunks) > 3
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_ends_the_stream_when_it_is_asked_for(program: Program) -> None:
    with sdk(program) as (client, _):
        chunks = list(
            client.chat.completions.create(
                model="sim/echo", messages=asks("Hello"), stream=True, stream_options={"include_usage": True}
            )
        )

    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens


async def test_many_async_calls_and_streams_at_once(program: Program) -> None:
    async with (
        openai.DefaultAsyncHttpxClient(trust_env=False) as http,
        openai.AsyncOpenAI(base_url=f"{program.base_url}/v1", api_key=program.api_key, http_client=http) as client,
    ):

        async def whole(number: int) -> str:
            reply = await client.chat.completions.create(model="sim/echo", messages=asks(f"question {number}"))
            return reply.choices[0].message.content or ""

        async def streamed(number: int) -> str:
            stream = await client.chat.completions.create(
                model="sim/echo", messages=asks(f"question {number}"), stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        texts = await asyncio.gather(*(ask(number) for number in range(20) for ask in (whole, streamed)))

    assert texts[::2] == texts[1::2]
    assert len(set(texts)) > 5


def test_the_answer_says_what_it_cost(program: Program) -> None:
    with sdk(program) as (client, _):
        raw = client.chat.completions.with_raw_response.create(model="sim/echo", messages=asks("Hello"), max_tokens=3)
    usage = raw.parse().usage

    assert usage
    assert (
        nanos_from_usd(raw.headers["x-agg-cost-usd"]) == usage.prompt_tokens * 1_000 + usage.completion_tokens * 4_000
    )
    assert raw.headers["x-request-id"] == raw.parse().id.removeprefix("chatcmpl-")


def test_a_bad_key_is_an_authentication_error(program: Program) -> None:
    with sdk(program, key="agg_live_nonsense") as (client, sent), pytest.raises(openai.AuthenticationError) as refusal:
        client.chat.completions.create(model="sim/echo", messages=asks("Hello"))

    assert refusal.value.code == "invalid_api_key"
    assert len(sent) == 1


def test_an_unknown_model_is_not_found(program: Program) -> None:
    with sdk(program) as (client, _), pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(model="sim/nobody", messages=asks("Hello"))

    assert (refusal.value.code, refusal.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "poet", "content": "x"}]}, "messages[0].role"),
        ({"extra_body": {"sim": {"chunks": 0}}}, "sim"),
        ({"extra_body": {"frobnicate": 1}}, "frobnicate"),
    ],
)
def test_a_wrong_parameter_is_named(program: Program, wrong: dict[str, Any], param: str) -> None:
    request: dict[str, Any] = {"model": "sim/echo", "messages": asks("Hello"), **wrong}
    with sdk(program) as (client, sent), pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(**request)

    assert refusal.value.param == param
    assert len(sent) == 1


def test_without_credit_the_sdk_does_not_try_again(program: Program) -> None:
    poor = make_key(program.base_url, register(program.base_url).access)["key"]
    with sdk(program, key=poor) as (client, sent), pytest.raises(openai.APIStatusError) as refusal:
        client.chat.completions.create(model="sim/echo", messages=asks("Hello"))

    assert (refusal.value.status_code, refusal.value.code) == (402, "credit_exhausted")
    assert refusal.value.type == "insufficient_quota"
    assert len(sent) == 1


def test_models_are_listed_and_found(program: Program) -> None:
    with sdk(program) as (client, _):
        listed = [model.id for model in client.models.list()]
        found = client.models.retrieve("sim/echo")
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("sim/nobody")

    assert {"sim/echo", "sim/free", MODEL} <= set(listed)
    assert found.id == "sim/echo"
    assert found.owned_by == "ai-aggregator"


# The SDK and a provider behind HTTP.


def test_the_provider_gets_our_credentials_and_none_of_the_callers(program: Program, provider: Upstream) -> None:
    with sdk(program) as (client, _):
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=asks("words 4"),
            temperature=0.5,
            extra_headers={"x-private": "mine", "cookie": "a=b"},
            extra_body={"frobnicate": {"deep": [1.0, None]}},
        )
    heard = provider.last

    assert heard.headers["authorization"] == f"Bearer {KEY}"
    assert heard.headers["x-agg-request-id"] == raw.headers["x-request-id"]
    assert heard.headers["content-type"] == "application/json"
    assert {"x-private", "cookie", "x-stainless-lang", "x-forwarded-for"} & heard.headers.keys() == set()
    assert program.api_key not in str(heard)
    assert heard.body == {
        "model": MODEL,
        "messages": asks("words 4"),
        "temperature": 0.5,
        "frobnicate": {"deep": [1.0, None]},
    }


def test_the_providers_answer_passes_and_its_usage_is_the_price(program: Program) -> None:
    with sdk(program) as (client, _):
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=asks("words 4"))
    reply = raw.parse()

    assert reply.id == "chatcmpl-upstream"
    assert reply.choices[0].message.content == "word0 word1 word2 word3 "
    assert nanos_from_usd(raw.headers["x-agg-cost-usd"]) == 1_000 * INPUT_NANOS + 4 * OUTPUT_NANOS


@pytest.mark.parametrize("wanted", [None, {"include_usage": False}, {"include_usage": True}])
def test_the_provider_always_reports_usage_the_client_gets_it_when_asked(
    program: Program, provider: Upstream, wanted: dict[str, bool] | None
) -> None:
    options: dict[str, Any] = {} if wanted is None else {"stream_options": wanted}
    with sdk(program) as (client, _):
        chunks: list[Any] = list(
            client.chat.completions.create(model=MODEL, messages=asks("words 3"), stream=True, **options)
        )

    assert provider.last.body["stream_options"] == {"include_usage": True}
    assert any(chunk.usage for chunk in chunks) == bool(wanted and wanted["include_usage"])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "word0 word1 word2 "


def test_a_stream_that_the_provider_cuts_raises_and_is_charged_what_was_delivered(program: Program) -> None:
    with sdk(program) as (client, sent):
        stream = client.chat.completions.create(model=MODEL, messages=asks("cut 5"), stream=True)
        request_id = stream.response.headers["x-request-id"]
        received: list[Any] = []
        with pytest.raises(openai.APIError) as failure:
            received.extend(chunk for chunk in stream)
    ended = ended_request(program, request_id)

    assert failure.value.code == "provider_broken"
    assert len(sent) == 1
    assert (ended["status"], ended["error_kind"], ended["evidence"]) == ("failed", "broken", "estimated")
    assert 0 < ended["cost_nanos"] <= ended["reserved_nanos"]


def test_a_cut_stream_has_no_end_mark(program: Program) -> None:
    question = {"model": MODEL, "messages": asks("cut 5"), "stream": True}
    with client_of(program.base_url, program.api_key) as client:
        answer = client.post("/v1/chat/completions", json=question)

    assert answer.status_code == 200
    assert "word4" in answer.text
    assert '"error":' in answer.text
    assert "[DONE]" not in answer.text


def test_a_providers_rate_limit_passes_with_its_wait(program: Program) -> None:
    with sdk(program, max_retries=0) as (client, _), pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(model=MODEL, messages=asks("refuse 429"))

    assert refusal.value.code == "rate_limit_exceeded"
    assert refusal.value.response.headers["retry-after"] == "7"


def test_a_providers_failure_is_a_bad_gateway_that_cost_nothing_and_may_be_retried(
    program: Program, provider: Upstream
) -> None:
    before = len(provider.heard)
    with sdk(program, max_retries=1) as (client, sent), pytest.raises(openai.InternalServerError) as refusal:
        client.chat.completions.create(model=MODEL, messages=asks("refuse 500"))

    assert refusal.value.status_code == 502
    assert len(sent) == len(provider.heard) - before == 2
    assert ended_request(program, refusal.value.response.headers["x-request-id"])["cost_nanos"] == 0


def test_our_own_bad_key_at_the_provider_is_not_the_clients(program: Program) -> None:
    with sdk(program, max_retries=0) as (client, _), pytest.raises(openai.APIStatusError) as refusal:
        client.chat.completions.create(model=MODEL, messages=asks("refuse 401"))

    assert refusal.value.status_code == 502
    assert refusal.value.code == "provider_refused"
    assert "sk-" not in refusal.value.message


def test_a_client_that_leaves_pays_what_the_provider_reports(program: Program, provider: Upstream) -> None:
    with sdk(program) as (client, _):
        stream = client.chat.completions.create(model=MODEL, messages=asks("words 40 pause 25"), stream=True)
        request_id = stream.response.headers["x-request-id"]
        next(iter(stream))
        stream.close()
    ended = ended_request(program, request_id)

    assert not provider.last.hung_up
    assert (ended["status"], ended["client_gone"], ended["evidence"]) == ("completed", True, "reported")
    assert ended["tokens"]["output"] == 40
    assert ended["cost_nanos"] == 1_000 * INPUT_NANOS + 40 * OUTPUT_NANOS


def test_an_answer_that_nobody_waits_for_is_charged_too(program: Program) -> None:
    """The client gives up before the first byte."""
    with sdk(program, max_retries=0, timeout=0.5) as (client, _), pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(
            model="sim/echo", messages=asks("Hello"), max_tokens=7, extra_body={"sim": {"latency_ms": 1500}}
        )
    with client_of(program.base_url, program.api_key) as client:

        def ended() -> dict[str, Any] | None:
            newest = client.get("/api/v1/requests", params={"limit": 1}).json()["data"][0]
            return newest if newest["status"] != "open" else None

        until(ended)
        request = ended()

    assert request
    assert (request["status"], request["tokens"]["output"], request["evidence"]) == ("completed", 7, "reported")
    assert request["duration_ms"] >= 1_500
