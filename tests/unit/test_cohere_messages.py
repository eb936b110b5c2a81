"""A conversation in Cohere's words."""

from typing import Any

import pytest

from domain.chat import (
    Audio,
    Document,
    Expressible,
    Image,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from tests.cohere_asking import COHERE, HI, ask, body, refusal, turn

CALL = ToolUse(id="c1", name="weather", arguments='{"city":"Rome"}')


def messages(*turns: Turn) -> list[dict[str, Any]]:
    return body(ask(*turns))["messages"]


def test_developers_speak_as_system_and_every_turn_keeps_its_place() -> None:
    assert messages(turn("developer", Text(text="Be brief")), HI, turn("system", Text(text="A"), Text(text="B"))) == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
    ]


def test_text_beside_tool_calls_is_the_plan_and_each_result_a_message() -> None:
    second = ToolUse(id="c2", name="clock", arguments="")
    results = turn(
        "tool",
        ToolResult(tool_use_id="c1", name="weather", parts=(Text(text="Sunny"),)),
        ToolResult(tool_use_id="c2", name="clock", parts=(Text(text=" \n"),)),
    )

    assert messages(HI, turn("assistant", Thinking(text="Hm"), Text(text="I will look"), CALL, second), results) == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "tool_plan": "I will look",
            "content": [{"type": "thinking", "thinking": "Hm"}],
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
                {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "(empty)"},
    ]


def test_an_assistants_thoughts_and_refusals_go_back() -> None:
    hidden = RedactedThinking(data="of another provider")
    parts = (hidden, Thinking(text="Hm", signature="of another provider"), Refusal(text="No."), Text(text=""))

    assert messages(turn("assistant", *parts), turn("assistant", Text(text="Yes"))) == [
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "No."}]},
        {"role": "assistant", "content": "Yes"},
    ]


def test_a_tools_failure_and_its_documents_are_told() -> None:
    parts = (Text(text="404"), Document(text="It was here", title="Log"))

    (message,) = messages(turn("tool", ToolResult(tool_use_id="c1", name="weather", parts=parts, is_error=True)))

    assert message["content"] == [
        {"type": "text", "text": "The tool failed:"},
        {"type": "text", "text": "404"},
        {"type": "document", "document": {"data": {"text": "It was here", "title": "Log"}}},
    ]


def test_images_go_by_url_or_as_a_data_url() -> None:
    images = (Image(url="https://a/b.png", detail="low"), Image(data="QUJD", media_type="image/png"))

    (message,) = messages(turn("user", Text(text="What?"), *images))

    assert message["content"][1:] == [
        {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
    ]


@pytest.mark.parametrize(
    ("unfit", "place", "kind"),
    [
        (turn("user", Text(text="Hear"), Audio(data="QUJD", format="wav")), "messages[3].content[1]", "audio"),
        (turn("user", Document(text="A file")), "messages[3].content[0]", "document"),
        (turn("system", Image(url="https://a/b")), "messages[3].content[0]", "image"),
    ],
)
def test_content_that_cohere_cannot_take_is_refused_at_its_place(unfit: Turn, place: str, kind: str) -> None:
    results = tuple(ToolResult(tool_use_id=ident, name="weather", parts=(Text(text="1"),)) for ident in ("a", "b"))

    refused = refusal(ask(HI, turn("tool", *results), unfit))

    assert (refused.field, refused.capability) == (place, kind)


def test_an_image_out_of_a_tool_is_refused() -> None:
    result = ToolResult(tool_use_id="c1", name="weather", parts=(Image(url="https://a/b"),))

    assert refusal(ask(turn("tool", result))).field == "messages[0].content[0]"


def test_names_of_speakers_are_refused_once() -> None:
    named = Turn(role="user", parts=(Text(text="Hi"),), name="Ann")
    allowed = Expressible("Cohere", {}, drop=True)

    assert refusal(ask(named, named)).capability == "name"
    COHERE.request_body(ask(named, named), allowed)
    assert allowed.dropped == ["name"]
