"""A conversation as `/responses` has it, in turns: each part in its place, each result beside its call."""

from typing import Any

import pytest

from adapters.dialects.responses.dialect import ResponsesDialect
from domain.chat import (
    ChatAsk,
    Document,
    Image,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from domain.errors import InvalidInput
from tests.responses import SIGNED, call

PNG = "data:image/png;base64,iVBORw0="
PDF = "data:application/pdf;base64,JVBERi0="


def ask(**members: Any) -> ChatAsk:
    return ResponsesDialect().read(call(**members))


def refusal_of(**members: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        ask(**members)
    return refusal.value


def turn(role: Any, *parts: Any) -> Turn:
    return Turn(role=role, parts=parts)


def test_instructions_come_first() -> None:
    turns = ask(instructions="Be kind.", input=[{"role": "developer", "content": "Be brief."}]).turns

    assert turns == (turn("system", Text(text="Be kind.")), turn("developer", Text(text="Be brief.")))


PARTS = [
    ({"type": "input_text", "text": "a"}, Text(text="a")),
    ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}, Text(text="a", cache="5m")),
    (
        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
        Text(text="a", cache="1h"),
    ),
    ({"type": "input_image", "image_url": "https://e.x/a", "detail": "low"}, Image(url="https://e.x/a", detail="low")),
    ({"type": "input_image", "image_url": PNG}, Image(data="iVBORw0=", media_type="image/png")),
    ({"type": "input_file", "file_url": "https://e.x/a"}, Document(url="https://e.x/a")),
    (
        {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
        Document(data="JVBERi0=", media_type="application/pdf", title="a.pdf"),
    ),
    ({"type": "input_file", "file_data": "JVBERi0="}, Document(data="JVBERi0=", media_type="application/pdf")),
]


@pytest.mark.parametrize(("written", "part"), PARTS)
def test_a_part_is_read_wherever_it_stands(written: dict[str, Any], part: Any) -> None:
    calling = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": [written]}

    assert ask(input=[{"role": "user", "content": [written]}]).turns == (turn("user", part),)
    assert ask(input=[calling, result]).turns[1] == turn("tool", ToolResult(tool_use_id="c", name="f", parts=(part,)))


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ({"type": "input_image", "file_id": "f"}, "file_id"),
        ({"type": "input_image"}, "image_url"),
        ({"type": "input_image", "image_url": "data:nonsense"}, "image_url"),
        ({"type": "input_file", "file_id": "f"}, "file_id"),
        ({"type": "input_file"}, "file_data"),
        ({"type": "reasoning_text", "text": "a"}, "type"),
    ],
)
def test_a_part_that_nobody_else_can_read_is_refused(written: dict[str, Any], field: str) -> None:
    refusal = refusal_of(input=[{"role": "user", "content": [written]}])

    assert refusal.field == f"input[0].content[0].{field}"


def test_an_output_is_not_made_of_refusals() -> None:
    calling = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": [{"type": "refusal", "refusal": "no"}]}

    assert refusal_of(input=[calling, result]).field == "input[1].output[0].type"


def calls(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function_call", "call_id": f"c{name}", "name": name, "arguments": "{}"} for name in names]


def output(name: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"c{name}", "output": name}


def result(name: str) -> ToolResult:
    return ToolResult(tool_use_id=f"c{name}", name=name, parts=(Text(text=name),))


def use(name: str) -> ToolUse:
    return ToolUse(id=f"c{name}", name=name, arguments="{}")


def test_what_an_assistant_thought_said_and_called_is_one_turn() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "sig"}
    message = {"role": "assistant", "content": [{"type": "output_text", "text": "Well.", "annotations": []}]}

    assert ask(input=[thought, message, *calls("a", "b"), output("a"), output("b")]).turns == (
        turn("assistant", Thinking(text="Hm.", signature="sig"), Text(text="Well."), use("a"), use("b")),
        turn("tool", result("a"), result("b")),
    )


def test_a_call_after_a_result_is_another_turn() -> None:
    assert ask(input=[*calls("a"), output("a"), *calls("b"), output("b")]).turns == (
        turn("assistant", use("a")),
        turn("tool", result("a")),
        turn("assistant", use("b")),
        turn("tool", result("b")),
    )


def test_a_late_result_stands_beside_the_others_of_its_turn() -> None:
    assert ask(input=[*calls("a", "b"), output("b"), {"role": "user", "content": "And?"}, output("a")]).turns == (
        turn("assistant", use("a"), use("b")),
        turn("tool", result("b"), result("a")),
        turn("user", Text(text="And?")),
    )


def test_arguments_that_were_left_empty_are_an_empty_object() -> None:
    (said,) = ask(input=[{**calls("a")[0], "arguments": ""}]).turns

    assert said.parts == (use("a"),)


THOUGHTS: list[tuple[dict[str, Any], Any]] = [
    ({"summary": [{"type": "summary_text", "text": t} for t in "ab"]}, Thinking(text="a\n\nb")),
    ({"summary": [], "content": [{"type": "reasoning_text", "text": "c"}]}, Thinking(text="c")),
    ({"summary": [], "content": None, "encrypted_content": "sig"}, Thinking(text="", signature="sig")),
    ({"summary": [], "encrypted_content": "redacted_thinking:xyz"}, RedactedThinking(data="xyz")),
]


@pytest.mark.parametrize(("written", "part"), THOUGHTS)
def test_thoughts_come_back_as_they_went_out(written: dict[str, Any], part: Any) -> None:
    assert ask(input=[{"type": "reasoning", "id": "rs_1", **written}]).turns == (turn("assistant", part),)


def test_thoughts_that_only_openai_could_know_say_nothing() -> None:
    empty = {"type": "reasoning", "id": "rs_1", "summary": []}

    assert ask(input=[empty, {"role": "assistant", "content": "Hi."}]).turns == (turn("assistant", Text(text="Hi.")),)


def test_signatures_and_refusals_come_back() -> None:
    content = [
        {"type": "output_text", "text": "a", "annotations": [], "extra_content": SIGNED},
        {"type": "refusal", "refusal": "no"},
    ]
    written = [{"role": "assistant", "content": content}, {**calls("a")[0], "extra_content": SIGNED}]

    assert ask(input=written).turns[0].parts == (
        Text(text="a", signature="s1"),
        Refusal(text="no"),
        ToolUse(id="ca", name="a", arguments="{}", signature="s1"),
    )
