"""Tools and options as Gemini has them, what it has no words for, what it has of its own, and how much it thinks."""

from typing import Any

import msgspec
import pytest
from google.genai import types

from adapters.providers.gemini import CountTokens, GeminiVocabulary
from domain.chat import ChatAsk, Expressible, Reasoning, ResponseFormat, Text, Tool, ToolChoice, Turn
from domain.errors import UnsupportedParameter

SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"city":{"type":"string"}},"additionalProperties":false}')
WEATHER = Tool(name="weather", description="Of a city", parameters=SCHEMA)
GEMINI = GeminiVocabulary()
HELLO = Turn(role="user", parts=(Text(text="Hello"),))


def written(expressible: Expressible | None = None, **options: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"model": "gemini-2.5-flash", "turns": (HELLO,)} | options
    ask = ChatAsk(**said)
    body = msgspec.json.decode(GEMINI.request_body(ask, expressible or Expressible("Gemini", {}, drop=False)))
    config = {name: value for name, value in body.items() if name not in ("contents", "generationConfig")}
    types.GenerateContentConfig.model_validate(config | body.get("generationConfig", {}))
    return body


def config(**options: Any) -> dict[str, Any]:
    return written(**options)["generationConfig"]


def thinking(model: str, **asked: Any) -> dict[str, Any]:
    body = written(model=model, reasoning=Reasoning(**asked))
    return body.get("generationConfig", {}).get("thinkingConfig", {})


def test_tools_keep_their_json_schemas() -> None:
    body = written(tools=(WEATHER, Tool(name="now")))

    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "Of a city",
                    "parametersJsonSchema": msgspec.json.decode(SCHEMA),
                },
                {"name": "now"},
            ]
        }
    ]
    assert "toolConfig" not in body


@pytest.mark.parametrize(
    ("choice", "mode"),
    [
        (ToolChoice(mode="auto"), {"mode": "AUTO"}),
        (ToolChoice(mode="none"), {"mode": "NONE"}),
        (ToolChoice(mode="required"), {"mode": "ANY"}),
        (ToolChoice(mode="tool", name="weather"), {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_a_tool_choice_is_a_mode(choice: ToolChoice, mode: dict[str, Any]) -> None:
    assert written(tools=(WEATHER,), tool_choice=choice)["toolConfig"] == {"functionCallingConfig": mode}


def test_a_choice_without_tools_that_changes_nothing_is_left_out() -> None:
    assert "toolConfig" not in written(tool_choice=ToolChoice(mode="none"))


def test_strict_tools_are_validated_from_2_5_on() -> None:
    strict = (msgspec.structs.replace(WEATHER, strict=True),)

    assert written(tools=strict)["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert "toolConfig" not in written(tools=strict, model="gemini-2.0-flash")


def test_all_options_have_their_place() -> None:
    assert config(
        max_output_tokens=10,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("a", "b"),
        seed=7,
        n=2,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=3,
        response_format=ResponseFormat(kind="json_schema", name="x", schema=SCHEMA, strict=True),
        parallel_tool_calls=True,
        service_tier="auto",
    ) == {
        "maxOutputTokens": 10,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "stopSequences": ["a", "b"],
        "seed": 7,
        "candidateCount": 2,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": msgspec.json.decode(SCHEMA),
    }


def test_what_was_not_said_is_not_sent() -> None:
    assert set(written()) == {"contents"}
    assert config(response_format=ResponseFormat(kind="json_object")) == {"responseMimeType": "application/json"}


def test_tokens_are_counted_of_the_whole_input() -> None:
    counter, ask = (
        CountTokens(),
        ChatAsk(
            model="gemini-2.5-flash", turns=(Turn(role="system", parts=(Text(text="S"),)), HELLO), tools=(WEATHER,)
        ),
    )
    body = msgspec.json.decode(counter.request_body(ask, Expressible("Gemini", {}, drop=False)))

    assert counter.path(ask) == "/v1beta/models/gemini-2.5-flash:countTokens"
    assert body == {
        "generateContentRequest": {"model": "models/gemini-2.5-flash"} | written(turns=ask.turns, tools=ask.tools)
    }


REFUSED: list[tuple[str, Any]] = [
    ("parallel_tool_calls", False),
    ("stop", ("a", "b", "c", "d", "e", "f")),
    ("service_tier", "flex"),
    ("logit_bias", msgspec.Raw(b"{}")),
    ("verbosity", "low"),
]


def test_who_asks_and_what_is_filed_is_passed_over() -> None:
    assert written(user="me", metadata=msgspec.Raw(b'{"a":"b"}'), prompt_cache_key="k") == written()


@pytest.mark.parametrize(("option", "value"), REFUSED)
def test_what_gemini_cannot_express_is_refused_under_the_clients_name(option: str, value: Any) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        written(Expressible("Gemini", {option: "theirs"}, drop=False), **{option: value})

    assert (refusal.value.field, refusal.value.capability) == ("theirs", option)


@pytest.mark.parametrize(("option", "value"), REFUSED)
def test_it_is_left_out_and_told_when_the_client_allowed_that(option: str, value: Any) -> None:
    expressible = Expressible("Gemini", {}, drop=True)

    assert set(written(expressible, **{option: value})) == {"contents"}
    assert expressible.dropped == [option]


@pytest.mark.parametrize("name", ["google_search", "cached_content", "store", "image", "extra_body"])
def test_extras_that_are_not_geminis_own_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        written(extras={name: msgspec.Raw(b"{}")})

    assert refusal.value.field == name


def test_geminis_own_extras_are_sent_in_its_spelling() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    body = written(
        extras={
            "safety_settings": msgspec.Raw(msgspec.json.encode(settings)),
            "labels": msgspec.Raw(b'{"team":"a"}'),
        }
    )

    assert body["safetySettings"] == settings
    assert body["labels"] == {"team": "a"}


def test_it_says_what_it_supports() -> None:
    assert GEMINI.supports >= {"top_k", "seed", "image", "document", "audio", "tools", "thinking", "safety_settings"}
    assert not GEMINI.supports & {"user", "logit_bias", "parallel_tool_calls", "google_search"}


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        ("gemini-2.5-flash", {"effort": "low"}, {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", {"effort": "max"}, {"thinkingBudget": 24576}),
        ("gemini-2.5-flash", {"effort": "none", "shown": True}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"budget_tokens": 0}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"budget_tokens": 2000, "shown": True}, {"thinkingBudget": 2000, "includeThoughts": True}),
        ("gemini-2.5-flash", {"budget_tokens": 90000}, {"thinkingBudget": 24576}),
        ("gemini-2.5-pro", {"budget_tokens": 90000}, {"thinkingBudget": 32768}),
        ("gemini-2.5-pro", {"shown": True}, {"includeThoughts": True}),
        ("gemini-2.5-pro", {"shown": False}, {}),
        ("gemini-3-flash-preview", {"effort": "minimal"}, {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-flash-preview", {"effort": "none"}, {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-pro-preview", {"effort": "minimal"}, {"thinkingLevel": "LOW"}),
        ("gemini-3.6-flash", {"effort": "medium"}, {"thinkingLevel": "MEDIUM"}),
        ("gemini-flash-latest", {"effort": "xhigh"}, {"thinkingLevel": "HIGH"}),
        ("gemini-3.6-flash", {"budget_tokens": 1024}, {"thinkingLevel": "LOW"}),
        ("gemini-3.6-flash", {"budget_tokens": 1025}, {"thinkingLevel": "MEDIUM"}),
        ("gemini-3.6-flash", {"budget_tokens": 30000}, {"thinkingLevel": "HIGH"}),
        ("gemini-3.6-flash", {"shown": True}, {"includeThoughts": True}),
        ("gemini-2.0-flash", {"effort": "none"}, {}),
        ("gemini-2.0-flash", {"shown": False}, {}),
    ],
)
def test_effort_and_budget_are_levels_from_3_on_and_tokens_at_2_5(
    model: str, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert thinking(model, **asked) == expected


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("gemini-2.5-pro", {"effort": "none"}),
        ("gemini-3.1-pro-preview", {"budget_tokens": 0}),
        ("gemma-4-31b-it", {"effort": "none"}),
        ("gemini-2.0-flash", {"effort": "low"}),
        ("gemini-2.0-flash", {"shown": True}),
        ("gemini-3.6-flash", {"effort": "heroic"}),
    ],
)
def test_thoughts_that_a_model_cannot_think_or_leave_are_refused(model: str, asked: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        thinking(model, **asked)

    assert refusal.value.capability == "reasoning"


@pytest.mark.parametrize("choice", [ToolChoice(mode="tool", name="clock"), ToolChoice(mode="required")])
def test_one_call_at_a_time_is_what_a_forced_tool_gives_anyway(choice: ToolChoice) -> None:
    forced = written(tools=(Tool(name="clock"),), tool_choice=choice)

    assert written(tools=(Tool(name="clock"),), tool_choice=choice, parallel_tool_calls=False) == forced
