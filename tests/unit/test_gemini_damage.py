"""Whatever the bytes of Gemini's answer are, they are an answer or an error in it."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.gemini import GeminiVocabulary
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import whole
from domain.chat import Text, ToolUse

GEMINI = GeminiVocabulary()
GARBAGE: Sequence[bytes] = [
    b"",
    b"[DONE]",
    b"{}",
    b"[]",
    b'{"candidates":[]}',
    b'{"candidates":[{"content":{"parts":[{"text":1}]}}]}',
    b'{"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}',
    b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]}}]}',
    b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":[]}}]}}]}',
    b'{"candidates":[{"content":{"parts":[{"functionCall":{}}]}}]}',
    b'{"candidates":[{"index":-1}]}',
    b'{"candidates":[{"citationMetadata":{"citationSources":[{"uri":"\xff"}]}}]}',
    b'{"candidates":[{"content":{"par',
    b'{"a":' + b"[" * 100_000,
]


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_is_an_error_in_the_answer(data: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        GEMINI.read(data)


SAMPLE = msgspec.json.encode(
    {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "Hi", "thoughtSignature": "c2ln"},
                        {"text": "Hm", "thought": True},
                        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
                    ]
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 5,
            "candidatesTokenCount": 2,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        },
    }
)


@given(st.integers(0, len(SAMPLE)), st.integers(0, 8), st.binary(max_size=8) | st.sampled_from([b"null", b"[]", b"1"]))
def test_a_damaged_answer_is_an_answer_or_an_error(place: int, cut: int, put: bytes) -> None:
    damaged = SAMPLE[:place] + put + SAMPLE[place + cut :]
    for read_it in (GEMINI.read, GEMINI.reader().read):
        try:
            whole(read_it(damaged))
        except ErrorInAnswer:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "candidates content parts text functionCall name args finishReason usageMetadata error".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_an_answer_or_an_error(answer: Any) -> None:
    try:
        made = whole(GEMINI.read(msgspec.json.encode(answer)))
    except ErrorInAnswer:
        return
    assert all(isinstance(part, Text | ToolUse) for choice in made.choices for part in choice.parts)
