"""Arbitrary conversations in the neutral shape, as a client could hold them: every call has its result."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from domain.chat import Part, Text, Tool, ToolResult, ToolUse, Turn

SCHEMAS = st.sampled_from(
    [b'{"type":"object","properties":{}}', b'{"type":"object","properties":{"a":{"type":"string"}}}']
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
ARGUMENTS = st.dictionaries(NAMES, WORDS | st.integers(-9, 9), max_size=2).map(
    lambda members: msgspec.json.encode(members).decode()
)


def texts(**said: st.SearchStrategy[Any]) -> st.SearchStrategy[Text]:
    return st.builds(Text, text=WORDS, **said)


def tool_uses(**said: st.SearchStrategy[Any]) -> st.SearchStrategy[ToolUse]:
    """Their ids are set where they stand in a conversation."""
    return st.builds(ToolUse, id=st.just(""), name=NAMES, arguments=ARGUMENTS, **said)


def tools(**said: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Tool, ...]]:
    tool = st.builds(Tool, name=NAMES, description=st.none() | WORDS, parameters=SCHEMAS.map(msgspec.Raw), **said)
    return st.lists(tool, max_size=3, unique_by=lambda one: one.name).map(tuple)


@st.composite
def conversations(
    draw: st.DrawFn,
    *,
    user_parts: st.SearchStrategy[Part],
    said_parts: st.SearchStrategy[Part],
    result_parts: st.SearchStrategy[Any],
    thoughts: st.SearchStrategy[Sequence[Part]],
    result: st.SearchStrategy[dict[str, Any]],
    calls: st.SearchStrategy[ToolUse],
) -> tuple[Turn, ...]:
    """Users and assistants by turns, beginning and ending with the user."""
    turns = [Turn(role="user", parts=tuple(draw(st.lists(user_parts, min_size=1, max_size=3))))]
    for number in range(draw(st.integers(0, 3))):
        made = draw(st.lists(calls, max_size=3))
        called = [msgspec.structs.replace(call, id=f"call_{number}_{index}") for index, call in enumerate(made)]
        said = draw(st.lists(said_parts, min_size=0 if called else 1, max_size=2))
        turns.append(Turn(role="assistant", parts=(*draw(thoughts), *said, *called)))
        if called:
            turns.append(Turn(role="tool", parts=tuple(_results(draw, called, result_parts, result))))
        turns.append(Turn(role="user", parts=tuple(draw(st.lists(user_parts, min_size=1, max_size=2)))))
    return tuple(turns)


def _results(
    draw: st.DrawFn,
    called: Sequence[ToolUse],
    parts: st.SearchStrategy[Any],
    result: st.SearchStrategy[dict[str, Any]],
) -> Iterator[ToolResult]:
    for call in called:
        shown = tuple(draw(st.lists(parts, min_size=1, max_size=2)))
        yield ToolResult(tool_use_id=call.id, name=call.name, parts=shown, **draw(result))
