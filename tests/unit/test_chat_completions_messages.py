"""Messages of an OpenAI client as turns."""

from typing import Any

import msgspec
import pytest

from adapters.dialects.chat_completions.asked import Message
from adapters.dialects.chat_completions.messages import turns_of
from adapters.dialects.data_uri import media_type_and_data
from domain.chat import (
    Audio,
    Document,
    Image,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from domain.errors import InvalidInput, UnsupportedParameter

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
CACHE = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def turns(*messages: dict[str, Any]) -> tuple[Turn, ...]:
    return turns_of(msgspec.convert(messages, list[Message]))


def call(ident: str, name: str, arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def signed(signature: str) -> dict[str, Any]:
    return {"extra_content": {"google": {"thought_signature": signature}}}


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_whoever_speaks_text_is_text(role: Any) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": CACHE}]

    [plain, marked] = turns({"role": role, "content": "a", "name": "Ann"}, {"role": role, "content": parts})

    assert plain == Turn(role=role, parts=(Text(text="a"),), name="Ann")
    assert marked == Turn(role=role, parts=(Text(text="a"), Text(text="b", cache="5m")))


PARTS: list[tuple[dict[str, Any], Part]] = [
    (
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        Image(url="https://x/y.png", detail="low"),
    ),
    (
        {"type": "image_url", "image_url": {"url": PNG}, "cache_control": HOUR},
        Image(data="iVBORw0KGgo=", media_type="image/png", cache="1h"),
    ),
    (
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        Document(data="JVBERi0=", media_type="application/pdf", title="a.pdf"),
    ),
    (
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        Audio(data="UklGRg==", format="wav"),
    ),
]


@pytest.mark.parametrize(("part", "read"), PARTS)
def test_what_a_user_shows_is_read(part: dict[str, Any], read: Part) -> None:
    assert turns({"role": "user", "content": [part]}) == (Turn(role="user", parts=(read,)),)


def test_an_assistant_thinks_then_speaks_then_calls() -> None:
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}],
        "refusal": "never",
        "reasoning_content": "hm",
        "tool_calls": [call("1", "f", ""), call("2", "g", '{"x":1}', **signed("s"))],
    }

    [turn] = turns(message)

    assert turn.parts == (
        Thinking(text="hm"),
        Text(text="a"),
        Refusal(text="no"),
        Refusal(text="never"),
        ToolUse(id="1", name="f", arguments=""),
        ToolUse(id="2", name="g", arguments='{"x":1}', signature="s"),
    )


def test_thinking_blocks_win_over_the_text_of_the_thoughts() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s", "index": 0},
        {"type": "redacted_thinking", "data": "xyz"},
    ]

    [turn] = turns({"role": "assistant", "content": "a", "reasoning_content": "other", "thinking_blocks": blocks})

    assert turn.parts == (Thinking(text="hm", signature="s"), RedactedThinking(data="xyz"), Text(text="a"))


def test_a_signature_of_the_message_is_that_of_its_last_text_be_it_empty() -> None:
    [spoken, silent] = turns(
        {"role": "assistant", "content": "a", "refusal": "b", **signed("s")},
        {"role": "assistant", "content": None, "tool_calls": [call("1", "f")], **signed("s")},
    )

    assert spoken.parts == (Text(text="a", signature="s"), Refusal(text="b"))
    assert silent.parts[0] == Text(text="", signature="s")


@pytest.mark.parametrize("content", [None, "", []])
def test_empty_content_beside_tool_calls_says_nothing(content: object) -> None:
    [turn] = turns({"role": "assistant", "content": content, "tool_calls": [call("1", "f")]})

    assert turn.parts == (ToolUse(id="1", name="f", arguments="{}"),)


def test_an_assistant_that_said_nothing_said_an_empty_text() -> None:
    assert turns({"role": "assistant", "content": None}) == (Turn(role="assistant", parts=(Text(text=""),)),)


def test_the_results_of_one_turn_are_one_turn_and_know_the_names_of_their_tools() -> None:
    read = turns(
        {"role": "assistant", "tool_calls": [call("1", "f"), call("2", "g")]},
        {"role": "tool", "tool_call_id": "2", "content": "two", "cache_control": CACHE},
        {
            "role": "tool",
            "tool_call_id": "1",
            "content": [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": PNG}}],
        },
        {"role": "assistant", "tool_calls": [call("1", "h")]},
        {"role": "tool", "tool_call_id": "1", "content": "again"},
    )

    picture = Image(data="iVBORw0KGgo=", media_type="image/png")
    assert [turn.role for turn in read] == ["assistant", "tool", "assistant", "tool"]
    assert read[1].parts == (
        ToolResult(tool_use_id="2", name="g", parts=(Text(text="two"),), cache="5m"),
        ToolResult(tool_use_id="1", name="f", parts=(Text(text="one"), picture)),
    )
    assert read[3].parts == (ToolResult(tool_use_id="1", name="h", parts=(Text(text="again"),)),)


def test_a_mark_on_a_message_stands_on_the_last_of_its_parts_that_can_bear_one() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, audio]

    [user, assistant] = turns(
        {"role": "user", "content": content, "cache_control": HOUR},
        {"role": "assistant", "content": "a", "tool_calls": [call("1", "f")], "cache_control": HOUR},
    )

    assert user.parts[:2] == (Text(text="a"), Text(text="b", cache="1h"))
    assert assistant.parts == (Text(text="a"), ToolUse(id="1", name="f", arguments="{}", cache="1h"))


REFUSED: list[tuple[dict[str, Any], str, type[InvalidInput]]] = [
    (
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
        "messages[0].content[0].file.file_id",
        UnsupportedParameter,
    ),
    (
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBERi0="}}]},
        "messages[0].content[0].file.file_data",
        InvalidInput,
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,abc"}}]},
        "messages[0].content[0].image_url.url",
        InvalidInput,
    ),
    ({"role": "tool", "tool_call_id": "9", "content": "a"}, "messages[0].tool_call_id", InvalidInput),
    (
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "c", "input": ""}}]},
        "messages[0].tool_calls[0].type",
        UnsupportedParameter,
    ),
    ({"role": "assistant", "thinking_blocks": [{"type": "thinking"}]}, "messages[0].thinking_blocks[0]", InvalidInput),
]


@pytest.mark.parametrize(("message", "field", "kind"), REFUSED)
def test_what_cannot_be_told_is_refused_where_it_stands(
    message: dict[str, Any], field: str, kind: type[InvalidInput]
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        turns(message)

    assert type(refusal.value) is kind
    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"{field}: ")


@pytest.mark.parametrize("name", ["function_call", "audio"])
def test_what_an_assistant_said_in_ways_not_known_here_is_refused(name: str) -> None:
    message = msgspec.json.decode(
        msgspec.json.encode({"role": "assistant", "content": "a", name: {"id": "x"}}), type=Message
    )

    with pytest.raises(UnsupportedParameter) as refusal:
        turns_of([message])

    assert refusal.value.field == f"messages[0].{name}"


URIS = [
    ("data:image/PNG;base64,AA==", ("image/png", "AA==")),
    ("DATA:text/plain;charset=utf-8;Base64,AA==", ("text/plain", "AA==")),
]


@pytest.mark.parametrize(("uri", "read"), URIS)
def test_a_data_uri_is_its_media_type_and_its_data(uri: str, read: tuple[str, str]) -> None:
    assert media_type_and_data(uri, "x") == read


@pytest.mark.parametrize(
    "uri",
    ["", "data:", "data:,", "data:;base64,AA==", "data:image/png;base64,", "data:image/png,a", "image/png;base64,AA=="],
)
def test_what_is_no_data_uri_is_refused_without_repeating_it(uri: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        media_type_and_data(uri, "messages[0]")

    assert refusal.value.field == "messages[0]"
