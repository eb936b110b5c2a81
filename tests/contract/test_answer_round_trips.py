"""An answer written for a client whose format is also a vendor's is read, as that vendor's answer, as the same."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.vocabulary import ChatVocabulary
from api import providers
from api.ai_routes import DIALECTS
from domain.answer import (
    Answer,
    AnswerEvent,
    Choice,
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
from domain.chat import Refusal, Text, Thinking, ToolUse
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import Endpoint, ProviderCall, Usage
from tests.contract.neutral_asks import ARGUMENTS, NAMES, WORDS

COUNTS = st.integers(0, 999)
Said = list[AnswerEvent]


@st.composite
def calls(draw: st.DrawFn) -> Said:
    """One whole call; its index is set where it stands."""
    arguments = draw(ARGUMENTS)
    edge = draw(st.integers(1, len(arguments)))
    fragments = [piece for piece in (arguments[:edge], arguments[edge:]) if piece]
    return [ToolStarted(0, "", draw(NAMES)), *(ToolArguments(0, piece) for piece in fragments)]


TEXTS = st.lists(st.builds(TextDelta, WORDS), min_size=1, max_size=3)
REFUSALS = st.lists(st.builds(RefusalDelta, WORDS), min_size=1, max_size=2)
THOUGHTS = st.lists(st.builds(ThinkingDelta, WORDS), min_size=1, max_size=2)
SIGNED: st.SearchStrategy[Said] = THOUGHTS.map(lambda said: [*said, ThinkingDelta("", signature="c2ln")])
REDACTED = st.builds(RedactedThinkingDelta, WORDS).map(lambda one: [one])
LOGPROBS = st.builds(
    Logprobs,
    st.tuples(
        st.builds(
            TokenLogprob,
            WORDS,
            st.floats(-9, 0),
            st.just((65,)),
            st.tuples(st.builds(TokenLogprob, WORDS, st.floats(-9, 0))),
        )
    ),
).map(lambda one: [one])
REASONS: st.SearchStrategy[FinishReason] = st.sampled_from(["stop", "length", "content_filter", "tool_calls"])


def numbered(blocks: Sequence[Sequence[AnswerEvent]], choice: int) -> Said:
    """With calls counted, and everything of this choice."""
    events: Said = []
    count = -1
    for event in (event for block in blocks for event in block):
        changes: dict[str, Any] = {"choice": choice}
        if isinstance(event, ToolStarted):
            count += 1
            changes |= {"index": count, "id": f"call_{choice}_{count}"}
        elif isinstance(event, ToolArguments):
            changes["index"] = count
        events.append(msgspec.structs.replace(event, **changes))
    return events


def said_in(blocks: st.SearchStrategy[Any], choice: int = 0) -> st.SearchStrategy[Said]:
    def ended(blocks: list[Said], reason: FinishReason) -> Said:
        return [*numbered(blocks, choice), Finished(reason, choice)]

    return st.builds(ended, st.lists(blocks, min_size=1, max_size=5), REASONS)


def used(**classes: st.SearchStrategy[int]) -> st.SearchStrategy[Said]:
    return st.builds(Tokens, **classes).map(lambda tokens: [Used(Usage(msgspec.Raw(b"{}"), tokens))])


OPENAI_BLOCKS = TEXTS | REFUSALS | THOUGHTS | LOGPROBS | calls()
OPENAI_USED = used(
    input=COUNTS, cached_input=COUNTS, cache_write_5m=COUNTS, audio_input=COUNTS, output=COUNTS, reasoning=COUNTS
)
ANTHROPIC_BLOCKS = TEXTS | SIGNED | REDACTED | calls()
ANTHROPIC_USED = used(
    input=COUNTS, cached_input=COUNTS, cache_write_5m=COUNTS, cache_write_1h=COUNTS, output=COUNTS, reasoning=COUNTS
)
STARTED: Said = [Started("chatcmpl-1", "theirs")]


def answers(*pieces: st.SearchStrategy[Said]) -> st.SearchStrategy[Said]:
    return st.tuples(*pieces).map(lambda said: STARTED + [event for piece in said for event in piece])


NO_EVENTS: Said = []
OPENAI_EVENTS = answers(said_in(OPENAI_BLOCKS), said_in(OPENAI_BLOCKS, 1) | st.just(NO_EVENTS), OPENAI_USED)
ANTHROPIC_EVENTS = answers(said_in(ANTHROPIC_BLOCKS), ANTHROPIC_USED)


def call(endpoint: Endpoint) -> ProviderCall:
    return ProviderCall(
        request_id=RequestId("req_0190d3a5000170018203040506070809"),
        endpoint=endpoint,
        upstream_model="m",
        members={},
        stream=True,
        include_usage=True,
        drop_params=False,
        input_estimate=1,
        max_output_tokens=100,
    )


def streamed_through(events: Said, endpoint: Endpoint, vocabulary: ChatVocabulary | None, reads: int) -> Answer:
    """Written for a client in some writes, and read as if a provider had sent it."""
    assert vocabulary is not None
    writer = DIALECTS.chat[endpoint].writer(call(endpoint))
    written = [writer.write(events[start : start + reads]) for start in range(0, len(events), reads)]
    reader = vocabulary.reader()
    read: Said = []
    for block in b"".join([*written, *writer.close()]).removesuffix(b"\n\n").split(b"\n\n"):
        read += reader.read(block.rpartition(b"data: ")[2] if b"\ndata: " in block else block.removeprefix(b"data: "))
    assert reader.ended
    return whole(read)


def whole_through(answer: Answer, endpoint: Endpoint, vocabulary: ChatVocabulary | None) -> Answer:
    assert vocabulary is not None
    return whole(vocabulary.read(DIALECTS.chat[endpoint].whole(answer, call(endpoint))))


def tokens_of(answer: Answer) -> Tokens | None:
    return answer.usage and answer.usage.tokens


def finish_of(choice: Choice, *, filtered: FinishReason) -> Finished:
    """A stop beside calls is theirs. What stopped an answer that was filtered is each format's own word."""
    calls_tools = any(isinstance(part, ToolUse) for part in choice.parts)
    reason = choice.finish.reason
    if reason == "stop" and calls_tools:
        return Finished("tool_calls", choice.finish.choice)
    return Finished(filtered if reason == "content_filter" else reason, choice.finish.choice)


def in_openais_order(choice: Choice) -> Choice:
    """A whole message holds what was thought, said, refused and called, each in one piece."""
    joined = [
        kind(text="".join(part.text for part in choice.parts if isinstance(part, kind)))
        for kind in (Thinking, Text, Refusal)
        if any(isinstance(part, kind) for part in choice.parts)
    ]
    used_tools = [part for part in choice.parts if isinstance(part, ToolUse)]
    return msgspec.structs.replace(choice, parts=(*joined, *used_tools))


def as_openai_tells(choice: Choice) -> Choice:
    return msgspec.structs.replace(choice, finish=finish_of(choice, filtered="content_filter"))


@given(OPENAI_EVENTS, st.integers(1, 4))
def test_a_streamed_chat_completion_is_read_as_it_was(events: Said, reads: int) -> None:
    answer = whole(events)

    read = streamed_through(events, "chat.completions", providers.OPENAI.chat, reads)

    assert (read.id, read.model, tokens_of(read)) == (answer.id, answer.model, tokens_of(answer))
    assert read.choices == tuple(as_openai_tells(choice) for choice in answer.choices)


@given(OPENAI_EVENTS)
def test_a_whole_chat_completion_is_read_as_it_was(events: Said) -> None:
    answer = whole(events)

    read = whole_through(answer, "chat.completions", providers.OPENAI.chat)

    assert (read.id, read.model, tokens_of(read)) == (answer.id, answer.model, tokens_of(answer))
    assert read.choices == tuple(in_openais_order(as_openai_tells(choice)) for choice in answer.choices)


@given(ANTHROPIC_EVENTS, st.integers(1, 4))
def test_a_message_is_read_as_it_was_streamed_or_whole(events: Said, reads: int) -> None:
    answer = whole(events)

    streamed = streamed_through(events, "messages", providers.ANTHROPIC.chat, reads)
    at_once = whole_through(answer, "messages", providers.ANTHROPIC.chat)

    for read in (streamed, at_once):
        assert (read.model, tokens_of(read)) == (answer.model, tokens_of(answer))
        assert read.choices[0].parts == answer.choices[0].parts
        assert read.choices[0].finish == finish_of(answer.choices[0], filtered="refusal")
