"""Tool calls, whole and in fragments, as OpenAI and its likes send them."""

from typing import Any

import msgspec
import pytest

from adapters.providers.openai.requests import OpenAIChatVocabulary
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import Answer, whole
from domain.chat import ToolUse

VOCABULARY = OpenAIChatVocabulary()


def completion(choice: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"id": "chatcmpl-1", "model": "gpt", "choices": [choice]})


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return completion({"index": 0, "delta": delta, "finish_reason": finish})


def answer(*data: bytes) -> Answer:
    reader = VOCABULARY.reader()
    return whole([event for one in (*data, b"[DONE]") for event in reader.read(one)])


def tool(name: str | None = None, arguments: Any = None, **members: Any) -> dict[str, Any]:
    return {"tool_calls": [{"function": {"name": name, "arguments": arguments}, **members}]}


def calls(*deltas: dict[str, Any]) -> list[tuple[str, str, str]]:
    parts = answer(*(chunk(delta) for delta in deltas), chunk({}, "tool_calls")).choices[0].parts
    return [(part.id, part.name, part.arguments) for part in parts if isinstance(part, ToolUse)]


def test_fragments_of_tool_calls_find_their_call_by_index() -> None:
    made = calls(
        tool("f", "", index=0, id="a"),
        tool(None, '{"x"', index=0),
        tool(None, ":1}", index=0),
        tool("g", "", index=3, id="b"),
        tool(None, "{}", index=3),
        tool(None, "", index=9),
    )

    assert made == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_whole_calls_are_told_apart_by_their_ids_where_all_have_index_0() -> None:
    made = calls(tool("f", '{"x":1}', index=0, id="a"), tool("f", '{"x":2}', index=0, id="b"))

    assert made == [("a", "f", '{"x":1}'), ("b", "f", '{"x":2}')]


def test_an_id_and_a_name_that_are_said_again_start_no_new_call() -> None:
    made = calls(tool("f", "{", index=0, id="a"), tool("f", "}", index=0, id="a"), tool(None, " ", id="a"))

    assert made == [("a", "f", "{} ")]


def test_calls_without_index_and_id_get_one() -> None:
    made = calls(tool("f", "{", id=""), tool(None, "}"), tool("g", {"x": 1}), tool("h", "", index=0))

    assert [(name, arguments) for _, name, arguments in made] == [("f", "{}"), ("g", '{"x":1}'), ("h", "")]
    assert len({ident for ident, _, _ in made if ident.startswith("call_")}) == 3


def test_a_whole_answer_keeps_every_call_also_with_ids_that_are_the_same() -> None:
    entries = [{"id": "a", "function": {"name": "f", "arguments": "{}"}}] * 2

    read = whole(VOCABULARY.read(completion({"message": {"tool_calls": entries}})))

    assert len(read.choices[0].parts) == 2


def test_a_function_call_of_old_is_a_tool_call() -> None:
    message = {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
    deltas = [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}]

    for read in (
        whole(VOCABULARY.read(completion({"message": message, "finish_reason": "function_call"}))),
        answer(*(chunk(delta) for delta in deltas), chunk({}, "function_call")),
    ):
        (call,) = read.choices[0].parts
        assert isinstance(call, ToolUse)
        assert (call.name, call.arguments, read.choices[0].finish.reason) == ("f", "{}", "tool_calls")


@pytest.mark.parametrize("entry", [tool(None, "{}", index=0), tool(None, "{}"), tool(None, "{}", id="a")])
def test_arguments_of_no_call_are_an_error(entry: dict[str, Any]) -> None:
    with pytest.raises(ErrorInAnswer, match="without its name"):
        answer(chunk(entry))
    with pytest.raises(ErrorInAnswer, match="without its name"):
        VOCABULARY.read(completion({"message": entry}))
