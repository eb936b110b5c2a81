"""A conversation that other vendors' models took part in goes on at OpenAI without what OpenAI would refuse."""

from typing import Any

import msgspec
import pytest

from adapters.providers.openai.foreign import without_foreign
from adapters.providers.openai.native import ChatPassthrough
from adapters.providers.openai.responses import ResponsesPassthrough
from tests.openai_passing import call

SIGNED = {"google": {"thought_signature": "c2ln"}}
FUNCTION = {"name": "get", "arguments": "{}"}


def cleaned(entries: Any) -> Any:
    return msgspec.json.decode(without_foreign(msgspec.Raw(msgspec.json.encode(entries))))


def test_thoughts_and_signatures_are_left_out_of_messages() -> None:
    said = {
        "role": "assistant",
        "content": [{"type": "text", "text": "So.", "extra_content": SIGNED}],
        "reasoning_content": "Hm.",
        "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}],
        "tool_calls": [{"id": "a", "type": "function", "function": FUNCTION, "extra_content": SIGNED}],
        "extra_content": SIGNED,
        "citations": [],
    }
    user = {"role": "user", "content": "What of extra_content?"}

    assert cleaned([user, said]) == [
        user,
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "So."}],
            "tool_calls": [{"id": "a", "type": "function", "function": FUNCTION}],
        },
    ]


def test_only_openais_own_thoughts_stay_in_the_input_of_a_response() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAABo"}
    foreign = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gemini:c2ln"}
    plain = {"type": "reasoning", "id": "rs_3", "summary": []}
    called = {"type": "function_call", "call_id": "c", "name": "get", "arguments": "{}"}

    assert cleaned([own, foreign, plain, {**called, "extra_content": SIGNED}]) == [own, plain, called]


@pytest.mark.parametrize(
    "raw", [b'"extra_content"', b'[1,"extra_content"]', b'[{"content":["extra_content"]}]', b"\xff"]
)
def test_what_is_no_conversation_stays_as_it_is(raw: bytes) -> None:
    assert without_foreign(msgspec.Raw(raw)) == msgspec.Raw(raw)


def test_a_conversation_without_them_is_not_even_decoded() -> None:
    raw = msgspec.Raw(b'[{"role":"user",   "content":"Hi"}]')

    assert without_foreign(raw) is raw


def test_openai_gets_it_cleaned_and_a_compatible_provider_as_it_is() -> None:
    asked = call(messages=[{"role": "assistant", "content": "So.", "reasoning_content": "Hm."}])
    items = call(input=[{"role": "user", "content": "Hi", "extra_content": SIGNED}])

    assert b"reasoning_content" not in ChatPassthrough(own_only=True).request_body(asked)
    assert b"reasoning_content" in ChatPassthrough().request_body(asked)
    assert b"extra_content" not in ResponsesPassthrough().request_body(items)
