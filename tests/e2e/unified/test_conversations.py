"""Conversations that go on: tools and their results, signatures and thoughts that must come back unchanged."""

from typing import Any

import pytest

from tests.e2e.running import Program
from tests.e2e.unified.catalogue import ALL, ANTHROPIC, COHERE, GOOGLE, Served, price_nanos, reported
from tests.e2e.unified.clients import Clients
from tests.e2e.unified.conftest import StandIns
from tests.e2e.unified.records import heard_by, record_of
from tests.e2e.unified.talks import ALL_TALKS, CHATS, MESSAGES, RESPONSES, Talk, user
from tests.e2e.vendors import anthropic, gemini
from tests.e2e.vendors.script import THOUGHT, Saying, saying_for

ANSWER = "It is rain and more rain"
every_vendor = pytest.mark.parametrize("served", ALL, ids=str)
every_talk = pytest.mark.parametrize("talk", ALL_TALKS, ids=str)


@every_vendor
@every_talk
def test_the_results_of_tools_reach_the_model_that_called_them(
    program: Program, clients: Clients, stand_ins: StandIns, talk: Talk, served: Served
) -> None:
    question = [user("tools 2")]

    called = talk.turn(clients, served.model, question)
    answered = talk.turn(clients, served.model, talk.after(question, called))
    heard = heard_by(stand_ins[served.provider], served, program, clients.headers)
    said = saying_for("", ["rain", "more rain"])

    assert talk.text(answered) == ANSWER
    assert results_in(served, heard.body) == ["rain", "more rain"]
    assert isinstance(said, Saying)
    assert record_of(program, clients.headers)["cost_nanos"] == price_nanos(reported(served, said))


def results_in(served: Served, body: dict[str, Any]) -> list[str]:
    """In the order of the calls that they answer."""
    if served is ANTHROPIC:
        called, results = body["messages"][-2:]
        by_id = {block["tool_use_id"]: block["content"] for block in results["content"]}
        found = [by_id[block["id"]] for block in called["content"] if block["type"] == "tool_use"]
        return [result if isinstance(result, str) else result[0]["text"] for result in found]
    if served is GOOGLE:
        return [part["functionResponse"]["response"]["result"] for part in body["contents"][-1]["parts"]]
    if "input" in body:
        outputs = {item["call_id"]: item["output"] for item in body["input"][-2:]}
        return [outputs[item["call_id"]] for item in body["input"] if item.get("type") == "function_call"]
    by_id = {message["tool_call_id"]: message["content"] for message in body["messages"][-2:]}
    return [by_id[call["id"]] for call in body["messages"][-3]["tool_calls"]]


@every_talk
def test_geminis_signatures_come_back_on_the_calls_and_texts_that_they_sign(
    program: Program, clients: Clients, stand_ins: StandIns, talk: Talk
) -> None:
    history = [user("tools 2")]
    history = talk.after(history, talk.turn(clients, GOOGLE.model, history))
    history = talk.after(history, talk.turn(clients, GOOGLE.model, history))
    talk.turn(clients, GOOGLE.model, [*history, user("words 1")])

    contents = heard_by(stand_ins[GOOGLE.provider], GOOGLE, program, clients.headers).body["contents"]
    first, second = [part for part in contents[1]["parts"] if "functionCall" in part]
    said = [part for part in contents[3]["parts"] if part.get("text")]

    assert [content["role"] for content in contents] == ["user", "model", "user", "model", "user"]
    assert first["thoughtSignature"] == gemini.CALL_SIGNATURE
    assert "thoughtSignature" not in second
    assert [part["text"] for part in said] == [ANSWER]
    if talk not in MESSAGES:  # which have no place for the signature of a text, and Gemini does not insist on it
        assert said[0]["thoughtSignature"] == gemini.TEXT_SIGNATURE


@pytest.mark.parametrize("served", [ANTHROPIC, GOOGLE], ids=str)
@pytest.mark.parametrize("talk", MESSAGES, ids=str)
def test_thoughts_come_back_with_their_signature_through_anthropics_client(
    program: Program, clients: Clients, stand_ins: StandIns, talk: Talk, served: Served
) -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1_024}}
    history = [user("think 2")]

    thought = talk.turn(clients, served.model, history, **thinking)
    assert [block.type for block in thought.content] == ["thinking", "text"]
    assert thought.content[0].thinking == "".join(THOUGHT)
    assert thought.usage.output_tokens_details.thinking_tokens == 70

    talk.turn(clients, served.model, [*talk.after(history, thought), user("words 1")], **thinking)
    assert_thought_heard(served, heard_by(stand_ins[served.provider], served, program, clients.headers).body)


@pytest.mark.parametrize("served", [ANTHROPIC, GOOGLE], ids=str)
@pytest.mark.parametrize("talk", CHATS, ids=str)
def test_thoughts_come_back_with_their_signature_through_openais_chats(
    program: Program, clients: Clients, stand_ins: StandIns, talk: Talk, served: Served
) -> None:
    history = [user("think 2")]

    thought = talk.turn(clients, served.model, history, reasoning_effort="low")
    assert (thought.content, thought.reasoning_content) == ("word0 word1 ", "".join(THOUGHT))

    talk.turn(clients, served.model, [*talk.after(history, thought), user("words 1")], reasoning_effort="low")
    assert_thought_heard(served, heard_by(stand_ins[served.provider], served, program, clients.headers).body)


@pytest.mark.parametrize("served", [ANTHROPIC, GOOGLE], ids=str)
@pytest.mark.parametrize("talk", RESPONSES, ids=str)
def test_thoughts_come_back_with_their_signature_through_openais_responses(
    program: Program, clients: Clients, stand_ins: StandIns, talk: Talk, served: Served
) -> None:
    thinking: dict[str, Any] = {
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    history = [user("think 2")]

    thought = talk.turn(clients, served.model, history, **thinking)
    assert [item.type for item in thought.output] == ["reasoning", "message"]
    assert thought.output[0].summary[0].text == "".join(THOUGHT)

    talk.turn(clients, served.model, [*talk.after(history, thought), user("words 1")], **thinking)
    assert_thought_heard(served, heard_by(stand_ins[served.provider], served, program, clients.headers).body)


def assert_thought_heard(served: Served, body: dict[str, Any]) -> None:
    if served is ANTHROPIC:
        assert body["thinking"]["type"] == "enabled"
        first = body["messages"][1]["content"][0]
        assert (first["thinking"], first["signature"]) == ("".join(THOUGHT), anthropic.SIGNATURE)
    else:
        assert body["generationConfig"]["thinkingConfig"]["thinkingLevel"] == "LOW"
        first = body["contents"][1]["parts"][0]
        assert (first["text"], first["thought"]) == ("".join(THOUGHT), True)
        assert first["thoughtSignature"] == gemini.THOUGHT_SIGNATURE


@pytest.mark.parametrize("served", [COHERE, ALL[-1]], ids=str)
@every_talk
def test_thoughts_that_nobody_signs_are_shown_and_billed(
    program: Program, clients: Clients, talk: Talk, served: Served
) -> None:
    said = saying_for("think 2", [])

    answered = talk.turn(clients, served.model, [user("think 2")])

    assert isinstance(said, Saying)
    assert talk.text(answered) == "word0 word1 "
    assert "".join(THOUGHT) in answered.model_dump_json()
    assert record_of(program, clients.headers)["cost_nanos"] == price_nanos(reported(served, said))


@pytest.mark.parametrize(("first", "second"), [(GOOGLE, ANTHROPIC), (ANTHROPIC, GOOGLE)], ids=str)
@every_talk
def test_a_conversation_goes_on_with_another_vendor(
    clients: Clients, talk: Talk, first: Served, second: Served
) -> None:
    """Each refuses what the other one signed."""
    history = [user("think 2")]
    history = [*talk.after(history, talk.turn(clients, first.model, history)), user("tools 2")]
    history = talk.after(history, talk.turn(clients, first.model, history))

    assert talk.text(talk.turn(clients, second.model, history)) == ANSWER
