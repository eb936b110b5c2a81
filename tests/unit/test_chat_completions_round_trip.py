"""A streamed answer, gathered by OpenAI's own SDK, is the whole answer; and what we answered is what we read back."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters.dialects.chat_completions.dialect import ChatCompletionsDialect
from domain.answer import (
    AnswerEvent,
    Citation,
    Finished,
    FinishReason,
    Logprobs,
    RedactedThinkingDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolArguments,
    ToolStarted,
    Used,
    whole,
)
from domain.chat import RedactedThinking, Text, Thinking, ToolUse
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Usage

CALL = ProviderCall(
    request_id=RequestId("req_0197f0c2a1b87a6f9c3e5d2b4a1c0001"),
    endpoint="chat.completions",
    upstream_model="m",
    members={},
    stream=True,
    include_usage=True,
    drop_params=False,
    input_estimate=1,
    max_output_tokens=4_096,
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SIGNATURES = st.none() | st.just("sig") | st.just("other")
REASONS: st.SearchStrategy[FinishReason] = st.sampled_from(["stop", "length", "tool_calls", "refusal", "pause"])


def said_by(choice: int) -> st.SearchStrategy[AnswerEvent]:
    """`ToolStarted` with the index still to be counted."""
    return st.one_of(
        st.builds(TextDelta, WORDS, st.just(choice), SIGNATURES),
        st.builds(ThinkingDelta, WORDS, st.just(choice), SIGNATURES),
        st.builds(RedactedThinkingDelta, WORDS, st.just(choice)),
        st.builds(RefusalDelta, WORDS, st.just(choice)),
        st.builds(ToolStarted, st.just(-1), WORDS, WORDS, st.just(choice), SIGNATURES),
        st.builds(ToolArguments, st.just(-1), WORDS, st.just(choice)),
        st.builds(Logprobs, st.tuples(st.builds(TokenLogprob, WORDS, st.floats(-9, 0))), st.just(choice)),
        st.builds(Citation, st.just(msgspec.Raw(b'{"a":1}')), st.just(choice), st.none() | WORDS, st.none() | WORDS),
        st.builds(Finished, REASONS, st.just(choice)),
    )


def with_tools_counted(events: list[AnswerEvent]) -> list[AnswerEvent]:
    """Fragments belong to the tool that was started last, or are left out."""
    counted: list[AnswerEvent] = []
    last: dict[int, int] = {}
    for event in events:
        if isinstance(event, ToolStarted):
            last[event.choice] = last.get(event.choice, -1) + 1
            counted.append(msgspec.structs.replace(event, index=last[event.choice]))
        elif not isinstance(event, ToolArguments):
            counted.append(event)
        elif event.choice in last:
            counted.append(msgspec.structs.replace(event, index=last[event.choice]))
    return counted


BEGUN: list[AnswerEvent] = [TextDelta("a", 0), TextDelta("b", 1)]
"""The SDK gathers several choices only where they begin in order."""
ONE_CHOICE = st.lists(said_by(0), max_size=12)
TWO_CHOICES = st.lists(said_by(0) | said_by(1), max_size=12).map(lambda events: BEGUN + events)
EVENTS = (ONE_CHOICE | TWO_CHOICES).map(with_tools_counted)
USAGES = st.lists(
    st.builds(Used, st.builds(Usage, st.just(msgspec.Raw(b"{}")), st.builds(Tokens, st.integers(0, 9)))), max_size=2
)


def gathered(data: bytes) -> ChatCompletion:
    state = ChatCompletionStreamState()
    for line in data.removesuffix(b"data: [DONE]\n\n").split(b"\n\n")[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(line.removeprefix(b"data: "), strict=True))
    return state.current_completion_snapshot


def told(completion: ChatCompletion) -> dict[str, Any]:
    """Without what only guides the gathering, and with null for text that is empty."""
    body = completion.model_dump(mode="json", exclude_none=True)
    for choice in body["choices"]:
        message = choice["message"]
        message["content"] = message.get("content") or None
        message["refusal"] = message.get("refusal") or None
        message.pop("parsed", None)
        for part in (*message.get("tool_calls", ()), *message.get("thinking_blocks", ())):
            part.pop("index", None)
            part.get("function", {}).pop("parsed_arguments", None)
        message["tool_calls"] = message.get("tool_calls") or []
    return body


@given(EVENTS, USAGES, st.data())
def test_chunks_gathered_by_a_client_are_the_whole_answer(
    events: list[AnswerEvent], usages: list[Used], data: st.DataObject
) -> None:
    events = [Started("x", "y"), *events, *usages]
    ends = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    reads = [events[start:end] for start, end in zip([0, *ends], [*ends, len(events)], strict=True)]
    dialect = ChatCompletionsDialect()
    writer = dialect.writer(CALL)

    streamed = b"".join([*(writer.write(read) for read in reads), *writer.close()])
    answered = dialect.whole(whole(events), CALL)

    assert told(gathered(streamed)) == told(ChatCompletion.model_validate_json(answered, strict=True)) | {
        "object": "chat.completion"
    }


@given(ONE_CHOICE.map(with_tools_counted))
def test_what_we_answered_and_the_client_sends_back_is_read_as_what_it_was(events: list[AnswerEvent]) -> None:
    answer = whole(events)
    dialect = ChatCompletionsDialect()
    message = msgspec.json.decode(dialect.whole(answer, CALL))["choices"][0]["message"]
    members = {"messages": msgspec.Raw(msgspec.json.encode([message]))}

    [turn] = dialect.read(msgspec.structs.replace(CALL, members=members)).turns

    said = answer.choices[0].parts
    tools = [part for part in said if isinstance(part, ToolUse)]
    signed = [
        part for part in said if isinstance(part, RedactedThinking) or (isinstance(part, Thinking) and part.signature)
    ]
    assert [part for part in turn.parts if isinstance(part, ToolUse)] == tools
    assert "".join(part.text for part in turn.parts if isinstance(part, Text)) == answer.choices[0].text
    if signed:
        assert [part for part in turn.parts if isinstance(part, Thinking | RedactedThinking)] == signed
