"""A conversation in OpenAI's messages, and in those of what speaks like it."""

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
from domain.errors import UnsupportedParameter
from tests.openai_asking import DEEPSEEK, LIKE_IT, OPENAI, ask, messages, turn


def test_all_that_a_user_shows_has_its_part() -> None:
    shown = turn(
        "user",
        Text(text="Look", cache="5m"),
        Image(url="https://x/a.png", detail="low"),
        Image(data="aWs=", media_type="image/jpeg"),
        Audio(data="UklG", format="wav"),
        Document(data="JVBE", media_type="application/pdf"),
        Document(data="JVBE", media_type="application/pdf", title="terms.pdf"),
        Document(text="Once", title="A tale"),
        name="ann",
    )

    assert messages(shown) == [
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,aWs="}},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
                {"type": "file", "file": {"filename": "terms.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
                {"type": "text", "text": "A tale\n\nOnce"},
            ],
        }
    ]


CALL = ToolUse(id="c1", name="weather", arguments='{"place":"Bern"}', signature="s")


def test_a_conversation_with_tools_is_written_message_by_message() -> None:
    written = messages(
        turn("system", Text(text="A"), Text(text="B")),
        turn("developer", Text(text="C")),
        turn("user", Text(text="D")),
        turn("assistant", Thinking(text="hm"), Text(text="E"), CALL, ToolUse(id="c2", name="time", arguments="")),
        turn(
            "tool",
            ToolResult(tool_use_id="c1", name="weather", parts=(Text(text="sun"),)),
            ToolResult(tool_use_id="c2", name="time", parts=(Text(text="no clock"), Text(text="!")), is_error=True),
        ),
    )

    assert written == [
        {"role": "system", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
        {"role": "developer", "content": "C"},
        {"role": "user", "content": "D"},
        {
            "role": "assistant",
            "content": "E",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Bern"}'}},
                {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "content": [{"type": "text", "text": "Error: no clock"}, {"type": "text", "text": "!"}],
        },
    ]


def test_a_tool_that_failed_without_a_word_still_failed() -> None:
    failed = ToolResult(tool_use_id="c", name="f", parts=(), is_error=True)
    silent = ToolResult(tool_use_id="c", name="f", parts=())

    assert [message["content"] for message in messages(turn("tool", failed, silent))] == ["Error", ""]


def test_thoughts_go_only_to_those_that_want_their_own_back() -> None:
    thought = turn("assistant", Thinking(text="hm", signature="s"), RedactedThinking(data="x"), Text(text="a"))

    assert messages(thought) == [{"role": "assistant", "content": "a"}]
    assert messages(thought, vocabulary=LIKE_IT) == [{"role": "assistant", "content": "a"}]
    assert messages(thought, vocabulary=DEEPSEEK) == [{"role": "assistant", "content": "a", "reasoning_content": "hm"}]
    assert [vocabulary.supports >= {"thinking"} for vocabulary in (OPENAI, LIKE_IT, DEEPSEEK)] == [False, False, True]


def test_a_refusal_is_text_for_those_that_have_none() -> None:
    refused = turn("assistant", Refusal(text="I won't."))

    content = [{"type": "refusal", "refusal": "I won't."}]
    assert messages(refused) == [{"role": "assistant", "content": content}]
    begun = turn("assistant", Text(text="Well."), Refusal(text="I won't."))
    assert messages(begun) == [{"role": "assistant", "content": "Well.", "refusal": "I won't."}]
    assert messages(refused, vocabulary=LIKE_IT) == [{"role": "assistant", "content": "I won't."}]


def test_an_empty_turn_stays_a_turn() -> None:
    assert messages(turn("assistant", RedactedThinking(data="x"))) == [{"role": "assistant", "content": ""}]
    assert messages(turn("user")) == [{"role": "user", "content": ""}]


def test_an_id_that_openai_finds_too_long_is_shortened_the_same_way_in_call_and_result() -> None:
    long = "toolu_" + "x" * 60
    call, result = messages(
        turn("assistant", ToolUse(id=long, name="f", arguments="{}")),
        turn("tool", ToolResult(tool_use_id=long, name="f", parts=())),
    )

    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) <= 40


@pytest.mark.parametrize(
    ("shown", "place", "kind"),
    [
        (turn("user", Text(text="a"), Document(url="https://x/a.pdf")), "messages[0].content[1]", "document"),
        (turn("system", Image(url="https://x")), "messages[0].content[0]", "image"),
        (turn("assistant", Image(url="https://x")), "messages[0].content[0]", "image"),
        (turn("user", CALL), "messages[0].content[0]", "tool_use"),
        (turn("tool", Text(text="a")), "messages[0].content[0]", "text"),
        (
            turn("tool", ToolResult(tool_use_id="c", name="f", parts=(Text(text="a"), Image(url="https://x")))),
            "messages[0].content[0].content[1]",
            "image",
        ),
    ],
)
@pytest.mark.parametrize("drop", [True, False])
def test_content_that_has_no_place_is_refused_and_never_left_out(
    shown: Turn, place: str, kind: str, drop: bool
) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        OPENAI.request_body(ask(shown), Expressible("openai", {}, drop=drop))

    assert (refusal.value.field, refusal.value.capability) == (place, kind)
