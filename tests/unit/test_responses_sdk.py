"""OpenAI's own client reads our responses, whole and streamed, and raises on our errors."""

from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import APIError, OpenAI
from pydantic import BaseModel

from adapters.dialects.responses.dialect import ResponsesDialect
from adapters.dialects.responses.errors import error_event
from domain.answer import (
    AnswerEvent,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArguments,
    ToolStarted,
    whole,
)
from domain.chat import Text, Thinking, ToolResult, ToolUse, Turn
from tests.responses import call_of, events_in, streamed

ANSWER: list[AnswerEvent] = [
    Started("up", "theirs-1"),
    ThinkingDelta("Hm.", signature="sig"),
    TextDelta("Hel"),
    TextDelta("lo"),
    ToolStarted(0, "c0", "f"),
    ToolStarted(1, "c1", "g"),
    ToolArguments(1, '{"b"'),
    ToolArguments(0, '{"a":1}'),
    ToolArguments(1, ":2}"),
    Finished("tool_calls"),
]
FUNCTION: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}


class Gateway:
    """Answers every request with these events, as our dialect writes them; `asked` is what was sent."""

    def __init__(self, events: Sequence[AnswerEvent], broken: bytes = b"") -> None:
        self.asked: list[bytes] = []
        self._events = events
        self._broken = broken
        http = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self.client = OpenAI(api_key="k", base_url="http://gateway.test/v1", http_client=http, max_retries=0)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/v1/responses"
        sent = request.read()
        self.asked.append(sent)
        checked = ResponsesDialect().check(sent)
        call = call_of(sent)
        if not checked.stream:
            return httpx2.Response(200, content=ResponsesDialect().whole(whole(self._events), call))
        writer = ResponsesDialect().writer(call)
        content = writer.write(self._events) + (self._broken or b"".join(writer.close()))
        return httpx2.Response(200, content=content, headers={"content-type": "text/event-stream"})


def test_a_whole_response_is_read() -> None:
    response = Gateway(ANSWER).client.responses.create(model="m", input="Hi", tools=[FUNCTION])

    assert (response.output_text, response.status, response.model) == ("Hello", "completed", "theirs-1")
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]


def test_a_streamed_response_adds_up_to_the_whole_one() -> None:
    client = Gateway(ANSWER).client
    with client.responses.stream(model="m", input="Hi", tools=[FUNCTION]) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    created = client.responses.create(model="m", input="Hi", tools=[FUNCTION])

    assert snapshots == ["Hel", "Hello"]
    assert final.output_text == "Hello"
    assert final.to_dict()["id"] == created.to_dict()["id"]
    assert [getattr(item, "id", "") for item in final.output] == [getattr(item, "id", "") for item in created.output]


def test_raw_events_are_read() -> None:
    stream = Gateway(ANSWER).client.responses.create(model="m", input="Hi", stream=True)
    types = [event.type for event in stream]

    assert types == [event["type"] for event in events_in(streamed(ANSWER))]


class Weather(BaseModel):
    celsius: int


def test_a_structured_answer_is_parsed_from_the_stream() -> None:
    gateway = Gateway([TextDelta('{"celsius"'), TextDelta(":21}"), Finished("stop")])
    with gateway.client.responses.stream(model="m", input="Hi", text_format=Weather) as stream:
        parsed = stream.get_final_response().output_parsed
    asked = ResponsesDialect().read(call_of(gateway.asked[0])).response_format

    assert parsed == Weather(celsius=21)
    assert asked is not None
    assert (asked.kind, asked.name, asked.strict) == ("json_schema", "Weather", True)


def test_what_was_answered_can_be_sent_back_as_it_is() -> None:
    gateway = Gateway(ANSWER)
    response = gateway.client.responses.create(model="m", input="Hi")
    outputs: list[Any] = [{"type": "function_call_output", "call_id": name, "output": name} for name in ("c0", "c1")]
    conversation: list[Any] = [{"role": "user", "content": "Hi"}, *response.output, *outputs]
    gateway.client.responses.create(model="m", input=conversation)

    assert ResponsesDialect().read(call_of(gateway.asked[1])).turns == (
        Turn(role="user", parts=(Text(text="Hi"),)),
        Turn(
            role="assistant",
            parts=(
                Thinking(text="Hm.", signature="sig"),
                Text(text="Hello"),
                ToolUse(id="c0", name="f", arguments='{"a":1}'),
                ToolUse(id="c1", name="g", arguments='{"b":2}'),
            ),
        ),
        Turn(
            role="tool",
            parts=(
                ToolResult(tool_use_id="c0", name="f", parts=(Text(text="c0"),)),
                ToolResult(tool_use_id="c1", name="g", parts=(Text(text="c1"),)),
            ),
        ),
    )


def test_an_answer_with_signatures_can_be_sent_back_with_them() -> None:
    events = [
        TextDelta("a"),
        TextDelta("", signature="s1"),
        ToolStarted(0, "c0", "f", signature="s2"),
        Finished("stop"),
    ]
    gateway = Gateway(events)
    with gateway.client.responses.stream(model="m", input="Hi") as stream:
        conversation: list[Any] = [*stream.get_final_response().output]
    gateway.client.responses.create(model="m", input=conversation)

    assert ResponsesDialect().read(call_of(gateway.asked[1])).turns[0].parts == (
        Text(text="a", signature="s1"),
        ToolUse(id="c0", name="f", arguments="{}", signature="s2"),
    )


def test_a_cut_answer_is_incomplete_to_the_client() -> None:
    gateway = Gateway([TextDelta("Hel"), Finished("length")])
    *_, last = gateway.client.responses.create(model="m", input="Hi", stream=True)

    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("is_accumulated", [True, False])
def test_a_failure_after_the_first_event_is_raised(is_accumulated: bool) -> None:
    client = Gateway([TextDelta("Hel")], error_event("provider_error", "The provider went away.", 5)).client

    with pytest.raises(APIError, match="The provider went away") as raised:
        if is_accumulated:
            with client.responses.stream(model="m", input="Hi") as stream:
                stream.until_done()
        else:
            list(client.responses.create(model="m", input="Hi", stream=True))

    assert raised.value.code == "provider_error"


def test_the_error_event_is_also_the_documented_one() -> None:
    (event,) = events_in(error_event("provider_error", "Gone.", 5))

    assert {name: value for name, value in event.items() if name != "error"} == {
        "type": "error",
        "sequence_number": 5,
        "code": "provider_error",
        "message": "Gone.",
        "param": None,
    }


FRAGMENTS = st.lists(
    st.builds(TextDelta, st.text(max_size=3)) | st.builds(RefusalDelta, st.text(max_size=3)), max_size=6
)


@settings(max_examples=25)
@given(FRAGMENTS)
def test_the_clients_own_accumulator_finds_every_text(fragments: list[AnswerEvent]) -> None:
    text = "".join(event.text for event in fragments if isinstance(event, TextDelta))
    with Gateway([*fragments, Finished("stop")]).client.responses.stream(model="m", input="Hi") as stream:
        assert stream.get_final_response().output_text == text
