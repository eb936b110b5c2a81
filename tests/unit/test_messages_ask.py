import json
from typing import Any

import msgspec
import pytest

from adapters.dialects.dialect import ClientRequest
from adapters.dialects.messages.dialect import MessagesDialect
from domain.chat import (
    ChatAsk,
    Document,
    Image,
    Reasoning,
    RedactedThinking,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from domain.errors import InvalidInput
from domain.ids import RequestId
from domain.upstream import ProviderCall

DIALECT = MessagesDialect()
CACHED = {"type": "ephemeral"}
HI = [{"role": "user", "content": "Hi"}]


def asked(*messages: dict[str, Any], **members: Any) -> ChatAsk:
    body = {"model": "alias", "max_tokens": 100, "messages": list(messages) or HI, **members}
    return read(DIALECT.check(json.dumps(body).encode()))


def read(checked: ClientRequest) -> ChatAsk:
    call = ProviderCall(
        request_id=RequestId("r1"),
        endpoint="messages",
        upstream_model="upstream",
        members=checked.members,
        stream=checked.stream,
        include_usage=True,
        drop_params=False,
        input_estimate=1,
        max_output_tokens=100,
    )
    return DIALECT.read(call)


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(ident: str, name: str = "look", **members: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": ident, "name": name, "input": {"at": 1}, **members}


def result(ident: str, **members: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": ident, **members}


def test_the_system_prompt_is_the_first_turn_and_keeps_its_cache_marks() -> None:
    ask = asked(system=[text("One.") | {"cache_control": CACHED | {"ttl": "1h"}}, text("Two.")])

    assert ask.turns == (
        Turn(role="system", parts=(Text(text="One.", cache="1h"), Text(text="Two."))),
        Turn(role="user", parts=(Text(text="Hi"),)),
    )


def test_options_have_their_neutral_names() -> None:
    ask = asked(
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop_sequences=["END"],
        metadata={"user_id": "u1"},
        service_tier="standard_only",
    )

    assert (ask.model, ask.stream, ask.max_output_tokens) == ("upstream", True, 100)
    assert (ask.temperature, ask.top_p, ask.top_k, ask.stop) == (0.5, 0.9, 4, ("END",))
    assert (ask.user, ask.service_tier, ask.extras) == ("u1", "default", {})
    assert ask.names["stop"] == "stop_sequences"


def test_results_of_tools_are_one_turn_before_what_the_user_says() -> None:
    ask = asked(
        {"role": "user", "content": "Look twice."},
        assistant(text("Well."), use("a"), use("b", "list")),
        user(text("Go on."), result("b", content="2", is_error=True), result("a", content=[text("1")])),
    )

    assert ask.turns[1:] == (
        Turn(
            role="assistant",
            parts=(
                Text(text="Well."),
                ToolUse(id="a", name="look", arguments='{"at": 1}'),
                ToolUse(id="b", name="list", arguments='{"at": 1}'),
            ),
        ),
        Turn(
            role="tool",
            parts=(
                ToolResult(tool_use_id="b", name="list", parts=(Text(text="2"),), is_error=True),
                ToolResult(tool_use_id="a", name="look", parts=(Text(text="1"),)),
            ),
        ),
        Turn(role="user", parts=(Text(text="Go on."),)),
    )


def test_results_spread_over_user_messages_come_together_behind_their_calls() -> None:
    ask = asked(assistant(use("a"), use("b")), user(text("First.")), user(result("a")), user(result("b"), text("Now.")))

    assert [turn.role for turn in ask.turns] == ["assistant", "tool", "user", "user"]
    assert [part.tool_use_id for part in ask.turns[1].parts if isinstance(part, ToolResult)] == ["a", "b"]


def test_a_result_that_answers_no_call_is_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        asked(user(result("nowhere")))

    assert refused.value.field == "messages[0].content[0].tool_use_id"


def test_thoughts_and_their_signatures_are_given_back_unchanged() -> None:
    ask = asked(
        assistant(
            {"type": "thinking", "thinking": "hmm", "signature": "s1"},
            {"type": "redacted_thinking", "data": "xyz"},
            use("a", extra_content={"google": {"thought_signature": "s2"}}),
        )
    )

    assert ask.turns[0].parts == (
        Thinking(text="hmm", signature="s1"),
        RedactedThinking(data="xyz"),
        ToolUse(id="a", name="look", arguments='{"at": 1}', signature="s2"),
    )


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA=="}},
            Image(data="AA==", media_type="image/jpeg"),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://a.example"}}, Image(url="https://a.example")),
        (
            {"type": "document", "title": "T", "source": {"type": "url", "url": "https://a.example"}},
            Document(url="https://a.example", title="T"),
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            Document(text="words", media_type="text/plain"),
        ),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JV=="}},
            Document(data="JV==", media_type="application/pdf"),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [text("a"), text("b")]}},
            Document(text="a\nb", media_type="text/plain"),
        ),
    ],
)
def test_images_and_documents_keep_where_they_come_from(block: dict[str, Any], part: Image | Document) -> None:
    marked = msgspec.structs.replace(part, cache="5m")

    assert asked(user(block)).turns[0].parts == (part,)
    assert asked(user(block | {"cache_control": CACHED})).turns[0].parts == (marked,)


def test_a_cache_mark_of_the_whole_request_is_that_of_its_last_part() -> None:
    ask = asked(user(text("a"), text("b")), assistant({"type": "thinking", "thinking": "c"}), cache_control=CACHED)

    assert ask.turns[0].parts == (Text(text="a"), Text(text="b", cache="5m"))


def test_tools_and_their_choice_are_read() -> None:
    tool = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}, "strict": True}
    ask = asked(
        tools=[tool | {"cache_control": CACHED}], tool_choice={"type": "any", "disable_parallel_tool_use": True}
    )

    schema = msgspec.Raw(b'{"type": "object"}')
    assert ask.tools == (Tool(name="look", description="Looks.", parameters=schema, strict=True, cache="5m"),)
    assert (ask.tool_choice, ask.parallel_tool_calls) == (ToolChoice(mode="required"), False)


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ({"type": "auto"}, ToolChoice(mode="auto")),
        ({"type": "none"}, ToolChoice(mode="none")),
        ({"type": "tool", "name": "look"}, ToolChoice(mode="tool", name="look")),
    ],
)
def test_every_choice_of_a_tool_has_its_neutral_mode(choice: dict[str, str], read: ToolChoice) -> None:
    ask = asked(tool_choice=choice)

    assert (ask.tool_choice, ask.parallel_tool_calls) == (read, None)


@pytest.mark.parametrize(
    ("members", "reasoning", "name"),
    [
        ({}, None, "output_config.effort"),
        ({"output_config": {"effort": "low"}}, Reasoning(effort="low"), "output_config.effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Reasoning(budget_tokens=2048), "thinking"),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
            Reasoning(budget_tokens=0),
            "thinking",
        ),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}},
            Reasoning(effort="max", shown=True),
            "thinking",
        ),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(shown=False), "thinking"),
    ],
)
def test_how_much_to_think_is_read(members: dict[str, Any], reasoning: Reasoning | None, name: str) -> None:
    ask = asked(**members)

    assert ask.reasoning == reasoning
    assert ask.names["reasoning"] == name


def test_a_format_of_the_output_is_a_strict_schema() -> None:
    ask = asked(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}})

    assert ask.response_format == ResponseFormat(
        kind="json_schema", name="answer", schema=msgspec.Raw(b'{"type": "object"}'), strict=True
    )


def test_what_is_not_known_is_left_to_the_provider_under_its_own_name() -> None:
    ask = asked(
        diagnostics={"a": 1}, output_config={"effort": "low", "task_budget": 3}, metadata={"x": 1}, speed="standard"
    )

    assert {name: bytes(value) for name, value in ask.extras.items()} == {
        "diagnostics": b'{"a": 1}',
        "output_config.task_budget": b"3",
        "metadata.x": b"1",
        "speed": b'"standard"',
    }


def test_an_input_that_is_to_be_counted_is_read_without_a_limit() -> None:
    ask = read(DIALECT.check_count(json.dumps({"model": "alias", "messages": HI}).encode()))

    assert ask.max_output_tokens is None
    assert ask.turns == (Turn(role="user", parts=(Text(text="Hi"),)),)
