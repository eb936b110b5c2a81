"""How Anthropic's models are told how much to think, by generation."""

from typing import Any

import msgspec
import pytest
from anthropic.types import MessageCreateParams
from pydantic import TypeAdapter

from adapters.providers.anthropic import AnthropicVocabulary
from domain.chat import ChatAsk, Expressible, Reasoning, Text, Tool, ToolChoice, Turn
from domain.errors import UnsupportedParameter

_params: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)
TURNS = (Turn(role="user", parts=(Text(text="Hi"),)),)
TOOLS = (Tool(name="look"),)


def body(model: str, reasoning: Reasoning | None = None, *, drop: bool = False, **options: Any) -> dict[str, Any]:
    ask = ChatAsk(model=model, turns=TURNS, reasoning=reasoning, **options)
    expressible = Expressible("Anthropic", {"reasoning": "reasoning_effort"}, drop=drop)
    made = msgspec.json.decode(AnthropicVocabulary().request_body(ask, expressible))
    _params.validate_python(made)
    return made


def told(model: str, reasoning: Reasoning | None = None, **options: Any) -> tuple[Any, Any]:
    made = body(model, reasoning, **options)
    return made.get("thinking"), made.get("output_config", {}).get("effort")


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


ADAPTIVE = {"type": "adaptive"}


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "said"),
    [
        ("claude-haiku-4-5", "minimal", budget(2_048), None),
        ("claude-haiku-4-5", "high", budget(16_384), None),
        ("claude-3-7-sonnet-20250219", "max", budget(32_000), None),
        ("claude-opus-4-1", "medium", budget(8_192), None),
        ("claude-opus-4-5", "max", budget(32_000), "high"),
        ("claude-sonnet-4-6", "low", ADAPTIVE, "low"),
        ("claude-opus-4-6", "xhigh", ADAPTIVE, "high"),
        ("claude-opus-4-6", "max", ADAPTIVE, "max"),
        ("claude-opus-4-7", "xhigh", ADAPTIVE, "xhigh"),
        ("claude-opus-5", "minimal", ADAPTIVE, "low"),
        ("claude-haiku-5-5", "medium", ADAPTIVE, "medium"),
        ("claude-next-9", "high", ADAPTIVE, "high"),
    ],
)
def test_an_effort_is_said_as_the_model_takes_it(model: str, effort: str, thinking: Any, said: str | None) -> None:
    assert told(model, Reasoning(effort=effort)) == (thinking, said)


@pytest.mark.parametrize(
    ("model", "tokens", "thinking", "said"),
    [
        ("claude-haiku-4-5", 1_024, budget(1_024), None),
        ("claude-opus-4-5", 5_000, budget(5_000), None),
        ("claude-opus-4-6", 5_000, budget(5_000), None),
        ("claude-mythos-preview", 5_000, budget(5_000), None),
        ("claude-opus-4-8", 1_024, ADAPTIVE, "low"),
        ("claude-opus-5", 8_192, ADAPTIVE, "medium"),
        ("claude-fable-5", 100_000, ADAPTIVE, "max"),
    ],
)
def test_a_budget_is_said_as_the_model_takes_it(model: str, tokens: int, thinking: Any, said: str | None) -> None:
    assert told(model, Reasoning(budget_tokens=tokens)) == (thinking, said)


@pytest.mark.parametrize("off", [Reasoning(effort="none"), Reasoning(budget_tokens=0)])
@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("claude-3-5-haiku-20241022", None),
        ("claude-haiku-4-5", None),
        ("claude-opus-4-8", None),
        ("claude-opus-5", {"type": "disabled"}),
        ("claude-haiku-5-5", {"type": "disabled"}),
        ("claude-sonnet-5", {"type": "disabled"}),
        ("claude-sonnet-5-5", {"type": "between_tools"}),
    ],
)
def test_thinking_is_turned_off_where_it_is_on(model: str, off: Reasoning, thinking: Any) -> None:
    assert told(model, off) == (thinking, None)


@pytest.mark.parametrize(
    ("model", "reasoning", "options"),
    [
        ("claude-opus-5-5", Reasoning(effort="none"), {}),
        ("claude-fable-5", Reasoning(budget_tokens=0), {}),
        ("claude-mythos-preview", Reasoning(effort="none"), {}),
        ("claude-3-5-haiku-20241022", Reasoning(effort="low"), {}),
        ("claude-haiku-4-5", Reasoning(budget_tokens=1_023), {}),
        ("claude-haiku-4-5", Reasoning(budget_tokens=2_000), {"max_output_tokens": 2_000}),
        ("claude-haiku-4-5", Reasoning(effort="low"), {"max_output_tokens": 1_024}),
        ("claude-opus-5", Reasoning(effort="heroic"), {}),
    ],
)
def test_what_a_model_cannot_think_is_refused(model: str, reasoning: Reasoning, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        body(model, reasoning, **options)

    assert refusal.value.field == "reasoning_effort"
    assert told(model, reasoning, drop=True, **options) == (None, None)


@pytest.mark.parametrize(("limit", "tokens"), [(1_025, 1_024), (3_000, 1_500), (2_000, 1_024)])
def test_a_budget_from_an_effort_leaves_room_for_the_answer(limit: int, tokens: int) -> None:
    assert told("claude-haiku-4-5", Reasoning(effort="high"), max_output_tokens=limit) == (budget(tokens), None)


@pytest.mark.parametrize(("shown", "display"), [(True, "summarized"), (False, "omitted")])
def test_thoughts_are_shown_as_the_client_wants(shown: bool, display: str) -> None:
    low = Reasoning(effort="low", shown=shown)

    assert told("claude-opus-4-7", low) == (ADAPTIVE | {"display": display}, "low")
    assert told("claude-haiku-4-5", low) == (budget(2_048) | {"display": display}, None)
    assert told("claude-opus-5", Reasoning(shown=shown)) == (ADAPTIVE | {"display": display}, None)


@pytest.mark.parametrize("reasoning", [None, Reasoning(), Reasoning(shown=True)])
def test_showing_thoughts_makes_no_model_think(reasoning: Reasoning | None) -> None:
    assert told("claude-opus-4-8", reasoning) == (None, None)
    assert told("claude-haiku-4-5", reasoning) == (None, None)


def test_anthropics_own_word_goes_as_it_is() -> None:
    own = {"thinking": msgspec.Raw(b'{"type":"enabled","budget_tokens":2000}')}

    assert told("claude-opus-5", Reasoning(effort="high"), extras=own) == (budget(2_000), "high")


@pytest.mark.parametrize("choice", [ToolChoice(mode="required"), ToolChoice(mode="tool", name="look")])
@pytest.mark.parametrize(
    ("model", "reasoning"),
    [
        ("claude-haiku-4-5", Reasoning(effort="low")),
        ("claude-opus-4-6", Reasoning(budget_tokens=2_000)),
        ("claude-opus-5-5", None),
        ("claude-sonnet-5-5", None),
        ("claude-fable-5-1", None),
    ],
)
def test_a_tool_is_not_forced_where_that_is_an_error(
    model: str, reasoning: Reasoning | None, choice: ToolChoice
) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        body(model, reasoning, tools=TOOLS, tool_choice=choice)

    assert refusal.value.field == "tool_choice"
    assert "tool_choice" not in body(model, reasoning, tools=TOOLS, tool_choice=choice, drop=True)


@pytest.mark.parametrize("model", ["claude-opus-4-6", "claude-opus-5", "claude-fable-5", "claude-haiku-5-5"])
def test_a_tool_is_forced_while_a_model_thinks_as_it_likes(model: str) -> None:
    made = body(model, Reasoning(effort="low"), tools=TOOLS, tool_choice=ToolChoice(mode="required"))

    assert made["tool_choice"] == {"type": "any"}
