"""How a conversation is put to Gemini, held against the types of its own SDK."""

from typing import Any

import msgspec
import pytest
from google.genai import types

from adapters.providers.gemini import GeminiVocabulary
from domain.chat import (
    Audio,
    ChatAsk,
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
from domain.errors import InvalidInput, UnsupportedParameter

PIXEL = "iVBORw0KGgo="
GEMINI = GeminiVocabulary()


def said(role: Any, *parts: Any) -> Turn:
    return Turn(role=role, parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


HELLO = said("user", "Hello")


def call(ident: str, arguments: str = "{}", **more: Any) -> ToolUse:
    return ToolUse(id=ident, name="weather", arguments=arguments, **more)


def result(ident: str, *parts: Any, **more: Any) -> ToolResult:
    texts = tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    return ToolResult(tool_use_id=ident, name="weather", parts=texts, **more)


def written(*turns: Turn, model: str = "gemini-2.5-flash", **options: Any) -> dict[str, Any]:
    """The request's body, which the SDK's types have checked."""
    ask = ChatAsk(model=model, turns=turns or (HELLO,), **options)
    body = msgspec.json.decode(GEMINI.request_body(ask, Expressible("Gemini", {}, drop=False)))
    for content in body["contents"]:
        types.Content.model_validate(content)
    config = {name: value for name, value in body.items() if name not in ("contents", "generationConfig")}
    types.GenerateContentConfig.model_validate(config | body.get("generationConfig", {}))
    return body


def contents(*turns: Turn, **options: Any) -> list[dict[str, Any]]:
    return written(*turns, **options)["contents"]


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-2.5-flash", False, "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("models/gemini-2.5-flash", True, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        ("../files?x=ä", False, "/v1beta/models/..%2Ffiles%3Fx%3D%C3%A4:generateContent"),
    ],
)
def test_the_path_names_the_model_once_and_safely(model: str, stream: bool, path: str) -> None:
    assert GEMINI.path(ChatAsk(model=model, turns=(HELLO,), stream=stream)) == path


def test_system_and_developer_turns_become_one_instruction_in_their_order() -> None:
    body = written(said("system", "One"), HELLO, said("developer", "Two"))

    assert body["systemInstruction"] == {"parts": [{"text": "One"}, {"text": "Two"}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Hello"}]}]


def test_adjacent_turns_of_one_role_are_one_content() -> None:
    made = contents(HELLO, said("user", "there"), said("assistant", "Hi"), said("assistant", Refusal(text="No")))

    assert made == [
        {"role": "user", "parts": [{"text": "Hello"}, {"text": "there"}]},
        {"role": "model", "parts": [{"text": "Hi"}, {"text": "No"}]},
    ]


def test_an_empty_text_is_left_out_beside_others_and_kept_alone() -> None:
    made = contents(said("user", "", "Hello"), said("assistant", ""), HELLO)

    assert [content["parts"] for content in made] == [[{"text": "Hello"}], [{"text": ""}], [{"text": "Hello"}]]


def test_a_conversation_of_the_system_alone_is_refused() -> None:
    with pytest.raises(InvalidInput) as refusal:
        written(said("system", "Alone"))

    assert refusal.value.field == "messages"


def test_a_system_turn_with_an_image_is_refused_by_its_place() -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        written(said("system", "See", Image(data=PIXEL)), HELLO)

    assert (refusal.value.field, refusal.value.capability) == ("messages[0].content[1]", "image")


def test_all_results_of_a_turn_are_one_content_in_the_order_of_the_calls() -> None:
    made = contents(
        HELLO,
        said("assistant", call("a", '{"city":"Rome"}'), call("b", "")),
        said("tool", result("b", "sunny"), result("a", '{"degrees":21}')),
        said("user", "Thanks"),
    )

    assert made[1]["parts"] == [
        {"functionCall": {"id": "a", "name": "weather", "args": {"city": "Rome"}}},
        {"functionCall": {"id": "b", "name": "weather", "args": {}}},
    ]
    assert made[2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "a", "name": "weather", "response": {"degrees": 21}}},
            {"functionResponse": {"id": "b", "name": "weather", "response": {"result": "sunny"}}},
        ],
    }
    assert made[3] == {"role": "user", "parts": [{"text": "Thanks"}]}


@pytest.mark.parametrize("wrong", ["[1]", "{", "1", '{"a":' + "[" * 5000])
def test_arguments_that_are_no_object_are_handed_on_as_text(wrong: str) -> None:
    made = contents(HELLO, said("assistant", call("a", wrong)))

    assert made[1]["parts"][0]["functionCall"]["args"] == {"arguments": wrong}


def test_a_failed_tool_answers_with_its_error() -> None:
    made = contents(HELLO, said("assistant", call("a")), said("tool", result("a", "no ", "net", is_error=True)))

    assert made[2]["parts"][0]["functionResponse"]["response"] == {"error": "no \nnet"}


def test_an_image_that_a_tool_returned_goes_inside_from_gemini_3_on_and_after_it_before() -> None:
    turns = HELLO, said("assistant", call("a")), said("tool", result("a", "Look", Image(data=PIXEL)))
    picture = {"inlineData": {"mimeType": "image/jpeg", "data": PIXEL}}

    newer, older = contents(*turns, model="gemini-3-flash-preview"), contents(*turns)

    assert newer[2]["parts"][0]["functionResponse"]["parts"] == [picture]
    assert len(newer) == 3
    assert "parts" not in older[2]["parts"][0]["functionResponse"]
    assert older[3] == {"role": "user", "parts": [{"text": "Returned by weather:"}, picture]}


def test_documents_that_a_tool_returned_are_text_or_files() -> None:
    documents = Document(text="Body", title="Title"), Document(url="https://a.example/b.pdf")
    made = contents(HELLO, said("assistant", call("a")), said("tool", result("a", *documents)))

    assert made[2]["parts"][0]["functionResponse"]["response"] == {"result": "Title\n\nBody"}
    assert made[3]["parts"][1] == {"fileData": {"fileUri": "https://a.example/b.pdf", "mimeType": "application/pdf"}}


def test_signatures_are_given_back_where_they_stood() -> None:
    made = contents(
        HELLO,
        said("assistant", Text(text="", signature="c2ln"), call("a", signature="dHdv"), call("b")),
        model="gemini-3-flash-preview",
    )

    assert [part.get("thoughtSignature") for part in made[1]["parts"]] == ["c2ln", "dHdv", None]


@pytest.mark.parametrize(
    ("model", "signatures"),
    [
        ("gemini-3.6-flash", ["skip_thought_signature_validator", None]),
        ("gemini-flash-latest", ["skip_thought_signature_validator", None]),
        ("gemini-2.5-flash", [None, None]),
        ("gemma-4-31b-it", [None, None]),
    ],
)
def test_only_the_first_call_of_a_step_needs_a_stand_in_for_its_signature(
    model: str, signatures: list[str | None]
) -> None:
    made = contents(HELLO, said("assistant", call("a"), call("b")), said("tool", result("a"), result("b")), model=model)

    assert [part.get("thoughtSignature") for part in made[1]["parts"]] == signatures


def test_thoughts_of_other_providers_are_left_out_and_own_ones_given_back() -> None:
    foreign = Thinking(text="Hm", signature="EqQB"), RedactedThinking(data="x"), Thinking(text="Hm")
    made = contents(HELLO, said("assistant", *foreign, Thinking(text="Own", signature="gemini:c2ln"), "Hi"))

    assert made[1]["parts"] == [{"text": "Own", "thought": True, "thoughtSignature": "c2ln"}, {"text": "Hi"}]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Image(data=PIXEL, media_type="image/png"), {"inlineData": {"mimeType": "image/png", "data": PIXEL}}),
        (Image(url="https://a.example/b.PNG?c=.gif"), ("https://a.example/b.PNG?c=.gif", "image/png")),
        (Image(url="https://a.example/b"), ("https://a.example/b", "image/jpeg")),
        (Image(url="https://[a/b"), ("https://[a/b", "image/jpeg")),
        (Document(url="https://a.example/b.csv"), ("https://a.example/b.csv", "text/csv")),
        (Document(url="gs://a/b", media_type="text/plain"), ("gs://a/b", "text/plain")),
        (
            Document(url="https://generativelanguage.googleapis.com/v1beta/files/a"),
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}},
        ),
        (Document(data=PIXEL), {"inlineData": {"mimeType": "application/pdf", "data": PIXEL}}),
        (Document(text="Body"), {"text": "Body"}),
        (Audio(data=PIXEL, format="wav"), {"inlineData": {"mimeType": "audio/wav", "data": PIXEL}}),
    ],
)
def test_media_go_as_bytes_or_as_what_gemini_fetches(part: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        expected = {"fileData": {"fileUri": expected[0], "mimeType": expected[1]}}

    assert contents(said("user", "See", part))[0]["parts"][1] == expected
