"""Every way to ask for a text, with every vendor: what the client is told, the vendor heard, and the account paid."""

from typing import Any

import pytest

from domain.money import usd
from tests.e2e.running import Program
from tests.e2e.unified import ways
from tests.e2e.unified.catalogue import (
    ALL,
    ANTHROPIC,
    COHERE,
    GOOGLE,
    OPENAI,
    Served,
    completion_of,
    price_nanos,
    prompt_of,
    raw_usage,
    reported,
)
from tests.e2e.unified.clients import Clients
from tests.e2e.unified.conftest import StandIns
from tests.e2e.unified.records import heard_by, record_of
from tests.e2e.vendors.cohere import PLAN
from tests.e2e.vendors.openai_responses import usage as as_response_usage
from tests.e2e.vendors.script import Saying, saying_for

every_vendor = pytest.mark.parametrize("served", ALL, ids=str)
every_way = pytest.mark.parametrize("way", ways.TEXT_WAYS, ids=lambda way: way.__name__)
every_tool_way = pytest.mark.parametrize(("way", "tools"), ways.TOOL_WAYS, ids=lambda it: getattr(it, "__name__", ""))


def saying(text: str) -> Saying:
    said = saying_for(text, [])
    assert isinstance(said, Saying)
    return said


def assert_usage(told: ways.Told, served: Served, said: Saying) -> None:
    tokens = reported(served, said)
    assert (told.prompt, told.output) == (prompt_of(tokens), completion_of(tokens))
    assert told.cached == tokens.get("cached_input", 0)
    assert told.reasoning == tokens.get("reasoning", 0)


def usage_in_record(served: Served, said: Saying, record: dict[str, Any]) -> dict[str, Any]:
    """The vendor's own, of the API that was asked."""
    raw = raw_usage(served, said)
    passed = served is OPENAI and record["endpoint"] == "responses"
    return as_response_usage(raw) if passed else raw


@every_vendor
@every_way
def test_a_text_its_usage_and_its_price_are_as_the_vendor_said(
    program: Program, clients: Clients, stand_ins: StandIns, way: ways.Way, served: Served
) -> None:
    told, said = way(clients, served.model, "words 5"), saying("words 5")
    heard_by(stand_ins[served.provider], served, program, told.headers)
    record, tokens = record_of(program, told.headers), reported(served, said)

    assert (told.text, told.finish, told.model) == (said.text, "stop", served.served_model)
    assert_usage(told, served, said)
    assert record["cost_nanos"] == price_nanos(tokens)
    assert (record["status"], record["evidence"]) == ("completed", "reported")
    assert record["tokens"] == {name: count for name, count in tokens.items() if count}
    assert record["usage"] == usage_in_record(served, said, record)
    assert (record["model"], record["upstream_model"]) == (served.model, served.upstream_model)
    assert record["served_model"] == served.served_model


@every_vendor
@every_tool_way
def test_tool_calls_are_as_the_vendor_made_them(
    program: Program, clients: Clients, stand_ins: StandIns, way: ways.Way, tools: Any, served: Served
) -> None:
    told, said = way(clients, served.model, "tools 2", tools=tools), saying("tools 2")
    heard = heard_by(stand_ins[served.provider], served, program, told.headers)

    assert told.calls == (("weather", {"city": "Oslo"}), ("weather", {"city": "Bergen"}))
    assert told.finish == "tool_calls"
    assert told.text.strip() == (PLAN if served is COHERE else "")
    assert_usage(told, served, said)
    assert record_of(program, told.headers)["cost_nanos"] == price_nanos(reported(served, said))
    assert declared(served, heard.body) == (ways.WEATHER["name"], ways.WEATHER["parameters"])


def declared(served: Served, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The tool as the vendor was told of it."""
    (tool,) = body["tools"]
    if served is ANTHROPIC:
        return tool["name"], tool["input_schema"]
    if served is GOOGLE:
        (tool,) = tool["functionDeclarations"]
        return tool["name"], tool["parametersJsonSchema"]
    tool = tool.get("function", tool)
    return tool["name"], tool["parameters"]


@every_vendor
def test_the_answers_headers_say_who_served_it_and_what_it_cost(clients: Clients, served: Served) -> None:
    headers = ways.chat(clients, served.model, "words 2").headers

    assert headers["x-agg-provider"] == served.provider
    assert headers["x-agg-model"] == served.model
    assert headers["x-agg-cost-usd"] == usd(price_nanos(reported(served, saying("words 2"))))
    assert headers["x-agg-position"].startswith("REQ:")
    assert (headers["x-agg-attempts"], headers["x-agg-cache"]) == ("1", "bypass")


@every_vendor
def test_what_the_client_sends_in_its_headers_stays_here(
    program: Program, clients: Clients, stand_ins: StandIns, served: Served
) -> None:
    private = {"x-private": "mine", "cookie": "a=b", "x-forwarded-for": "10.1.2.3", "anthropic-beta": "x-2026-01-01"}

    told = ways.chat(clients, served.model, "words 1", extra_headers=private)
    heard = heard_by(stand_ins[served.provider], served, program, told.headers)

    assert heard.headers["content-type"] == "application/json"
    if served is ANTHROPIC:
        assert heard.headers["anthropic-version"] == "2023-06-01"


@every_vendor
def test_a_system_prompt_and_limits_reach_the_vendor_in_its_words(
    program: Program, clients: Clients, stand_ins: StandIns, served: Served
) -> None:
    reply = clients.openai.chat.completions.create(
        model=served.model,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "words 1"}],
        max_completion_tokens=50,
        stop=["END"],
    )
    heard = heard_by(stand_ins[served.provider], served, program, clients.headers).body

    assert reply.choices[0].message.content == "word0 "
    assert heard.get("model", served.upstream_model) == served.upstream_model
    match served.provider:
        case "anthropic":
            assert (heard["system"][0]["text"], heard["max_tokens"]) == ("Be brief.", 50)
            assert heard["stop_sequences"] == ["END"]
        case "google":
            assert heard["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
            assert heard["generationConfig"] == {"maxOutputTokens": 50, "stopSequences": ["END"]}
        case "cohere":
            assert heard["messages"][0] == {"role": "system", "content": "Be brief."}
            assert (heard["max_tokens"], heard["stop_sequences"]) == (50, ["END"])
        case _:
            assert heard["messages"][0] == {"role": "system", "content": "Be brief."}
            assert (heard["max_completion_tokens"], heard["stop"]) == (50, ["END"])


@every_way
def test_the_simulated_provider_answers_every_client(program: Program, clients: Clients, way: ways.Way) -> None:
    told = way(clients, "sim/echo", "Hello")
    record = record_of(program, told.headers)

    assert told.text.split()
    assert told.finish == ("length" if record["endpoint"] == "completions" else "stop")
    assert record["evidence"] == "reported"
    assert record["cost_nanos"] == told.prompt * 1_000 + told.output * 4_000
