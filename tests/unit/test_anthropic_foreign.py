"""A conversation that another vendor's model began, as Anthropic can go on with it."""

import json
from typing import Any

import msgspec
import pytest

from adapters.providers.anthropic.foreign import without_foreign

OWN = {"type": "thinking", "thinking": "hm", "signature": "ErUBCkYIBBgC=="}
TEXT = {"type": "text", "text": 'Say "signature": "x:y" and "extra_content"'}
CALL = {"type": "tool_use", "id": "t", "name": "look", "input": {"extra_content": 1.0}}


def cleaned(content: object, indent: int | None = None) -> Any:
    message = {"role": "assistant", "content": content, "of_next_year": 1}
    raw = msgspec.Raw(json.dumps([message], indent=indent).encode())
    (only,) = json.loads(bytes(without_foreign(raw)))
    assert {**only, "content": None} == {**message, "content": None}
    return only["content"]


@pytest.mark.parametrize("signature", ["gemini:AbC=", ""])
@pytest.mark.parametrize("indent", [None, 1])
def test_thoughts_that_others_signed_or_nobody_are_left_out(signature: str, indent: int | None) -> None:
    foreign = {**OWN, "signature": signature}

    assert cleaned([foreign, OWN, TEXT, CALL], indent) == [OWN, TEXT, CALL]


def test_a_call_loses_the_signature_of_its_maker_and_nothing_else() -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "Et0B"}}}

    assert cleaned([TEXT, signed]) == [TEXT, CALL]


@pytest.mark.parametrize("content", ["Hello", [OWN, TEXT, CALL], [], [{"type": "redacted_thinking", "data": "x:y"}]])
def test_what_is_anthropics_own_stays(content: object) -> None:
    assert cleaned(content) == content


def test_a_conversation_with_one_model_only_stays_as_it_was_sent() -> None:
    raw = msgspec.Raw(
        b'[ {"role": "user",  "content": "Hi"}, {"role":"assistant","content":[{"type":"text","text":""}]} ]'
    )

    assert without_foreign(raw) is raw
