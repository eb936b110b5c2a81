"""How a conversation is written for Anthropic."""

import re
from typing import Any

import msgspec
import pytest
from anthropic.types import MessageCreateParams
from pydantic import TypeAdapter

from adapters.providers.anthropic import AnthropicVocabulary
from domain.chat import (
    Audio,
    ChatAsk,
    Document,
    Expressible,
    Image,
    Part,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from domain.errors import InvalidInput, UnsupportedParameter

_params: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)
PDF = "JVBERi0="


def turn(role: Role, *parts: Part | str) -> Turn:
    return Turn(role=role, parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def call(ident: str = "toolu_1", arguments: str = "{}") -> ToolUse:
    return ToolUse(id=ident, name="look", arguments=arguments)


def result(ident: str = "toolu_1", *parts: Text | Image | Document) -> ToolResult:
    return ToolResult(tool_use_id=ident, name="look", parts=parts)


def written(*turns: Turn, model: str = "claude-opus-5", drop: bool = False) -> dict[str, Any]:
    """Checked against the vendor's own type."""
    ask = ChatAsk(model=model, turns=turns)
    body = msgspec.json.decode(AnthropicVocabulary().request_body(ask, Expressible("Anthropic", {}, drop=drop)))
    _params.validate_python(body)
    return body


def roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


def content(*parts: Part | str, role: Role = "user") -> Any:
    return written(turn(role, *parts))["messages"][0]["content"]


def test_what_the_system_says_first_stands_apart_in_order() -> None:
    body = written(turn("system", "A", Text(text="B", cache="1h")), turn("developer", "C"), turn("user", "Hi"))

    assert body["system"] == [
        {"type": "text", "text": "A"},
        {"type": "text", "text": "B", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "C"},
    ]
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]


def test_a_model_that_reads_system_turns_gets_them_after_the_user() -> None:
    body = written(
        turn("user", "Hi"),
        turn("assistant", "Yes?"),
        turn("system", "Be brief."),
        turn("user", "Why?"),
        turn("user", "?"),
    )

    assert roles(body) == ["user", "assistant", "user", "system"]
    assert [block["text"] for block in body["messages"][2]["content"]] == ["Why?", "?"]
    assert "system" not in body


@pytest.mark.parametrize("model", ["claude-sonnet-5", "claude-haiku-4-5", "claude-opus-4-7", "claude-next-9"])
def test_for_other_models_every_system_turn_stands_apart(model: str) -> None:
    body = written(turn("user", "Hi"), turn("system", "Be brief."), model=model)

    assert roles(body) == ["user"]
    assert body["system"] == [{"type": "text", "text": "Be brief."}]


def test_a_system_turn_that_follows_no_user_stands_apart() -> None:
    body = written(turn("user", "Hi"), turn("assistant", "A"), turn("system", "S"), turn("assistant", "B"))

    assert roles(body) == ["user", "assistant"]
    assert body["system"] == [{"type": "text", "text": "S"}]


def test_turns_of_one_side_are_one_message() -> None:
    body = written(turn("user", "a"), turn("user", "b"), turn("assistant", "c"), turn("assistant", "d"))

    assert [[block["text"] for block in message["content"]] for message in body["messages"]] == [["a", "b"], ["c", "d"]]


def test_results_of_tools_come_first_in_the_users_message() -> None:
    body = written(
        turn("user", "Look"),
        turn("assistant", "Looking", call("toolu_1"), call("toolu_2", '{"at": 1}')),
        turn("tool", result("toolu_1", Text(text="dark")), result("toolu_2")),
        turn("user", "And?"),
    )

    assert body["messages"][1]["content"][1:] == [
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
        {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {"at": 1}},
    ]
    assert body["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "dark"}]},
            {"type": "tool_result", "tool_use_id": "toolu_2"},
            {"type": "text", "text": "And?"},
        ],
    }


def test_a_result_may_be_an_error_and_hold_an_image() -> None:
    failed = ToolResult(
        tool_use_id="toolu_1", name="look", parts=(Image(url="https://i.test/a.png"),), is_error=True, cache="5m"
    )

    assert written(turn("assistant", call()), turn("tool", failed))["messages"][1]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [{"type": "image", "source": {"type": "url", "url": "https://i.test/a.png"}}],
            "is_error": True,
            "cache_control": {"type": "ephemeral", "ttl": "5m"},
        }
    ]


@pytest.mark.parametrize("foreign", ["call|1:é", "", "functions.look:0", "toolu_1\n"])
def test_an_id_that_anthropic_does_not_take_is_the_same_other_one_everywhere(foreign: str) -> None:
    body = written(turn("assistant", call(foreign), call("toolu_1")), turn("tool", result(foreign), result("toolu_1")))

    used = [block["id"] for block in body["messages"][0]["content"]]
    answered = [block["tool_use_id"] for block in body["messages"][1]["content"]]
    assert used == answered
    assert used[1] == "toolu_1"
    assert used[0] != "toolu_1"
    assert re.fullmatch("[a-zA-Z0-9_-]+", used[0])


@pytest.mark.parametrize("arguments", ["", " \n"])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    assert content(call(arguments=arguments), role="assistant")[0]["input"] == {}


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", '{"a": NaN}', '{"a":' * 100_000])
def test_arguments_that_are_no_object_are_refused_by_their_place(arguments: str) -> None:
    looked = (turn("assistant", call(), call("toolu_2")), turn("tool", result(), result("toolu_2")))

    with pytest.raises(InvalidInput) as refusal:
        written(*looked, turn("assistant", "So", call("toolu_3"), call("toolu_4", arguments)))

    assert refusal.value.field == "messages[3].tool_calls[1].function.arguments"


def test_thoughts_come_first_and_unchanged() -> None:
    assert content("So.", Thinking(text="Hm.", signature="s"), RedactedThinking(data="x"), role="assistant") == [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "So."},
    ]


def test_thoughts_between_words_stay_where_they_were() -> None:
    parts = (Thinking(text="1", signature="a"), Text(text="A"), Thinking(text="2", signature="b"), call())

    assert [block["type"] for block in content(*parts, role="assistant")] == [
        "thinking",
        "text",
        "thinking",
        "tool_use",
    ]


def test_thoughts_without_a_signature_are_not_said() -> None:
    assert content(Thinking(text="foreign"), "A", role="assistant") == [{"type": "text", "text": "A"}]


def test_an_answer_does_not_end_with_a_thought() -> None:
    parts = (Thinking(text="1", signature="a"), Text(text="A"), Thinking(text="cut", signature="b"))

    assert [block["type"] for block in content(*parts, role="assistant")] == ["thinking", "text"]


def test_an_answer_of_thoughts_alone_is_no_message() -> None:
    body = written(turn("user", "a"), turn("assistant", Thinking(text="Hm.", signature="s")), turn("user", "b"))

    assert roles(body) == ["user"]


def test_a_refusal_is_said_as_text() -> None:
    assert content(Refusal(text="No."), role="assistant") == [{"type": "text", "text": "No."}]


def test_empty_text_is_not_said() -> None:
    assert content("", "a", " \n") == [{"type": "text", "text": "a"}]


@pytest.mark.parametrize("turns", [(), (turn("system", "S"),), (turn("user", ""),)])
def test_a_conversation_without_a_word_is_refused(turns: tuple[Turn, ...]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        written(*turns)

    assert refusal.value.field == "messages"


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (Image(url="https://i.test/a"), {"type": "image", "source": {"type": "url", "url": "https://i.test/a"}}),
        (
            Image(data="aGk=", media_type="image/jpg", detail="auto", cache="5m"),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": "aGk="},
                "cache_control": {"type": "ephemeral", "ttl": "5m"},
            },
        ),
        (
            Document(url="https://d.test/a.pdf", title="A"),
            {"type": "document", "source": {"type": "url", "url": "https://d.test/a.pdf"}, "title": "A"},
        ),
        (
            Document(data=PDF, media_type="application/pdf"),
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        ),
        (
            Document(text="words"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        ),
        (
            Document(data="d29yZHM=", media_type="text/markdown"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        ),
    ],
)
def test_images_and_documents_are_shown(part: Part, block: dict[str, Any]) -> None:
    assert content(part) == [block]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (Audio(data="aGk=", format="wav"), "audio"),
        (Image(data="aGk=", media_type="image/tiff"), "image"),
        (Image(data="aGk="), "image"),
        (Document(data="aGk=", media_type="application/zip"), "document"),
    ],
)
def test_content_that_anthropic_has_no_words_for_is_never_left_out(part: Part, kind: str) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        written(turn("user", "See", part), drop=True)

    assert (refusal.value.field, refusal.value.capability) == ("messages[0].content[1]", kind)


def test_the_text_of_a_document_is_readable() -> None:
    with pytest.raises(InvalidInput) as refusal:
        content(Document(data="//8=", media_type="text/plain"))

    assert refusal.value.field == "messages[0].content[0]"


def test_the_system_prompt_is_text() -> None:
    with pytest.raises(UnsupportedParameter):
        written(turn("system", Image(url="https://i.test/a")), turn("user", "Hi"))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (Turn(role="user", parts=(Text(text="Hi"),), name="ann"), "name"),
        (turn("user", "Hi", Image(url="https://i.test/a", detail="low")), "detail"),
    ],
)
def test_what_has_no_words_is_refused_or_dropped_and_told(said: Turn, name: str) -> None:
    expressible = Expressible("Anthropic", {}, drop=True)
    AnthropicVocabulary().request_body(ChatAsk(model="claude-opus-5", turns=(said, said)), expressible)

    assert expressible.dropped == [name]
    with pytest.raises(UnsupportedParameter) as refusal:
        written(said)
    assert refusal.value.field == name
