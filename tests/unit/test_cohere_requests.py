"""Options of a chat in Cohere's words."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from domain.chat import Expressible, Reasoning, ResponseFormat, Tool, ToolChoice
from domain.errors import InvalidInput
from tests.cohere_asking import COHERE, SCHEMA, ask, body, refusal

WEATHER = Tool(name="weather", description="Of a city", parameters=msgspec.Raw(SCHEMA))
CLOCK = Tool(name="clock")


def test_a_plain_question_says_no_more_than_it_must() -> None:
    assert COHERE.path(ask()) == "/v2/chat"
    assert body(ask()) == {
        "model": "command-a-03-2025",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
    }


def test_options_have_coheres_names() -> None:
    sent = body(
        ask(
            stream=True,
            max_output_tokens=50,
            temperature=0.2,
            top_p=0.5,
            top_k=40,
            stop=("a", "b"),
            seed=7,
            presence_penalty=0.5,
            frequency_penalty=0.0,
            logprobs=True,
        )
    )

    del sent["model"], sent["messages"]
    assert sent == {
        "stream": True,
        "max_tokens": 50,
        "temperature": 0.2,
        "p": 0.5,
        "k": 40,
        "stop_sequences": ["a", "b"],
        "seed": 7,
        "presence_penalty": 0.5,
        "logprobs": True,
    }


@pytest.mark.parametrize(("top_p", "p"), [(0, 0.01), (1, 0.99), (0.3, 0.3)])
def test_the_ends_of_top_p_are_the_nearest_that_cohere_takes(top_p: float, p: float) -> None:
    assert body(ask(top_p=top_p))["p"] == p


def test_tools_are_strict_together_and_always_have_parameters() -> None:
    sent = body(ask(tools=(WEATHER, msgspec.structs.replace(CLOCK, strict=True))))

    assert sent["strict_tools"] is True
    assert [tool["function"] for tool in sent["tools"]] == [
        {"name": "weather", "description": "Of a city", "parameters": msgspec.json.decode(SCHEMA)},
        {"name": "clock", "parameters": {"type": "object", "properties": {}}},
    ]
    assert "strict_tools" not in body(ask(tools=(WEATHER,)))


@pytest.mark.parametrize(
    ("choice", "said", "shown"),
    [
        (ToolChoice(mode="auto"), None, ["weather", "clock"]),
        (ToolChoice(mode="none"), "NONE", ["weather", "clock"]),
        (ToolChoice(mode="required"), "REQUIRED", ["weather", "clock"]),
        (ToolChoice(mode="tool", name="clock"), "REQUIRED", ["clock"]),
    ],
)
def test_a_named_tool_is_forced_by_showing_no_other(choice: ToolChoice, said: str | None, shown: list[str]) -> None:
    sent = body(ask(tools=(WEATHER, CLOCK), tool_choice=choice))

    assert sent.get("tool_choice") == said
    assert [tool["function"]["name"] for tool in sent["tools"]] == shown


def test_a_choice_among_no_tools_is_not_said_and_of_an_unknown_one_invalid() -> None:
    assert body(ask(tool_choice=ToolChoice(mode="none"))).keys() == {"model", "messages", "stream"}
    with pytest.raises(InvalidInput, match="no tool 'sun'"):
        body(ask(tools=(CLOCK,), tool_choice=ToolChoice(mode="tool", name="sun")))


def test_a_schema_is_given_bare() -> None:
    wanted = ResponseFormat(kind="json_schema", name="city", schema=msgspec.Raw(SCHEMA), strict=True)

    assert body(ask(response_format=wanted))["response_format"] == {
        "type": "json_object",
        "json_schema": msgspec.json.decode(SCHEMA),
    }
    assert body(ask(response_format=ResponseFormat(kind="json_object")))["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("reasoning", "thinking"),
    [
        (Reasoning(effort="none"), {"type": "disabled"}),
        (Reasoning(budget_tokens=0), {"type": "disabled"}),
        (Reasoning(effort="low"), {"type": "enabled", "token_budget": 2000}),
        (Reasoning(effort="high"), {"type": "enabled"}),
        (Reasoning(effort="none", budget_tokens=900), {"type": "enabled", "token_budget": 900}),
        (Reasoning(shown=True), None),
    ],
)
def test_effort_becomes_a_budget(reasoning: Reasoning, thinking: Mapping[str, Any] | None) -> None:
    assert body(ask(reasoning=reasoning)).get("thinking") == thinking


def test_coheres_own_parameters_go_through_as_they_are() -> None:
    said = {"documents": ["The sky is green."], "citation_options": {"mode": "FAST"}, "priority": 3}

    sent = body(ask(extras={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in said.items()}))

    assert {name: sent[name] for name in said} == said


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"logit_bias": msgspec.Raw(b"{}")}, "logit_bias"),
    ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    ({"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"verbosity": "low"}, "verbosity"),
    ({"tool_choice": ToolChoice(mode="required")}, "tool_choice"),
    ({"reasoning": Reasoning(effort="heroic")}, "reasoning"),
    ({"stop": tuple("abcdef")}, "stop"),
    ({"top_k": 501}, "top_k"),
    ({"presence_penalty": -0.5}, "presence_penalty"),
    ({"frequency_penalty": 1.5}, "frequency_penalty"),
    ({"tools": (CLOCK,), "response_format": ResponseFormat(kind="json_object")}, "response_format"),
    ({"extras": {"web_search_options": msgspec.Raw(b"{}")}}, "web_search_options"),
    ({"extras": {"image": msgspec.Raw(b"{}")}}, "image"),
]


@pytest.mark.parametrize(("options", "option"), REFUSED)
def test_what_cohere_lacks_is_refused_by_the_clients_name_or_dropped_and_told(
    options: dict[str, Any], option: str
) -> None:
    asked = ask(names={option: "theirs"}, **options)
    refused = refusal(asked)
    allowed = Expressible("Cohere", asked.names, drop=True)

    assert (refused.field, refused.capability) == ("theirs", option)
    assert not {option, "p", "k", "stop_sequences"} & msgspec.json.decode(COHERE.request_body(asked, allowed)).keys()
    assert allowed.dropped == ["theirs"]


def test_who_asks_and_what_is_filed_is_passed_over() -> None:
    assert body(ask(user="me", metadata=msgspec.Raw(b'{"a":"b"}'), prompt_cache_key="k")) == body(ask())


def test_options_that_ask_for_what_cohere_does_anyway_are_left_out() -> None:
    asked = ask(n=1, parallel_tool_calls=True, top_logprobs=0, service_tier="auto", logprobs=False)

    assert body(asked).keys() == {"model", "messages", "stream"}
