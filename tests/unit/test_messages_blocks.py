from hypothesis import given
from hypothesis import strategies as st

from domain.answer import AnswerEvent, Finished, TextDelta, ThinkingDelta, ToolArguments, ToolStarted
from tests.unit.test_messages_answer import CALL, DIALECT, accumulated, answered, one_by_one, streamed


def test_parallel_calls_whose_fragments_interleave_come_out_in_turn() -> None:
    message = one_by_one(
        ToolStarted(0, "a", "f"),
        ToolStarted(1, "b", "g"),
        ToolArguments(1, '{"y":'),
        ToolArguments(0, '{"x":'),
        ToolStarted(2, "c", "h"),
        ToolArguments(1, "2}"),
        TextDelta("and"),
        ToolArguments(2, '{"z":3}'),
        ToolArguments(0, '{"n":1}}'),
        Finished("tool_calls"),
    )

    assert [block.get("input") or block["text"] for block in message["content"]] == [
        {"x": {"n": 1}},
        {"y": 2},
        {"z": 3},
        "and",
    ]


ARGUMENTS = ('{"a": [{"b": 1}, "}"]}', '{"c": {}}', "{}")
PICKS = st.lists(st.tuples(st.sampled_from(["words", "thoughts", 0, 1, 2]), st.integers(1, 6)), max_size=40)


@given(PICKS)
def test_however_a_model_mixes_its_words_stream_and_whole_say_the_same(picks: list[tuple[str | int, int]]) -> None:
    events: list[AnswerEvent] = []
    left: dict[str | int, tuple[int, str]] = {}
    for what, size in picks:
        if what == "words":
            events.append(TextDelta("w" * size))
        elif what == "thoughts":
            events.append(ThinkingDelta("t" * size, signature="s" if size == 1 else None))
        else:
            if what not in left:
                left[what] = (len(left), ARGUMENTS[int(what)])
                events.append(ToolStarted(left[what][0], f"call_{what}", "look"))
            index, arguments = left[what]
            left[what] = (index, arguments[size:])
            events.append(ToolArguments(index, arguments[:size]))
    events += [ToolArguments(index, arguments) for index, arguments in left.values()]

    assert one_by_one(*events)["content"] == answered(*events)["content"]
    assert accumulated(streamed(events))["content"] == answered(*events)["content"]


def test_a_call_that_follows_a_complete_one_is_not_held_back() -> None:
    writer = DIALECT.writer(CALL)
    writer.write([ToolStarted(0, "a", "f"), ToolArguments(0, '{"x":1'), ToolArguments(0, "} ")])

    assert b'"index":1' in writer.write([ToolStarted(1, "b", "g")])
    assert b'"partial_json":"{"' in writer.write([ToolArguments(1, "{")])
