"""Gemini's embeddings, its errors, and its count of tokens."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.gemini import CountTokens, GeminiEmbeddings, read_error
from adapters.providers.vocabulary import ErrorInAnswer, VendorError
from domain.chat import Expressible
from domain.embedding import EmbeddingAsk
from domain.errors import InvalidInput, UnsupportedParameter
from domain.pricing import Tokens

MODEL = "gemini-embedding-001"
EMBEDDINGS = GeminiEmbeddings()


def asked(*inputs: str, **options: Any) -> EmbeddingAsk:
    return EmbeddingAsk(model=MODEL, inputs=inputs, **options)


def written(ask: EmbeddingAsk) -> list[Any]:
    calls = EMBEDDINGS.requests(ask, Expressible("Gemini", {}, drop=False))
    assert {path for path, _ in calls} == {f"/v1beta/models/{MODEL}:batchEmbedContents"}
    return [msgspec.json.decode(body)["requests"] for _, body in calls]


def batch(*vectors: list[float], **more: Any) -> bytes:
    return msgspec.json.encode({"embeddings": [{"values": vector} for vector in vectors]} | more)


def test_every_input_names_the_model_and_says_all_that_was_asked() -> None:
    extras = {"task_type": msgspec.Raw(b'"RETRIEVAL_DOCUMENT"'), "title": msgspec.Raw(b'"T"')}
    own = {"model": f"models/{MODEL}", "taskType": "RETRIEVAL_DOCUMENT", "title": "T", "outputDimensionality": 768}

    assert written(asked("a", "b", dimensions=768, extras=extras)) == [
        [own | {"content": {"parts": [{"text": text}]}} for text in "ab"]
    ]


def test_more_than_a_hundred_inputs_are_several_calls_whose_vectors_keep_their_order() -> None:
    ask = asked(*(str(number) for number in range(250)))
    sent = written(ask)
    answers = [batch(*([float(one["content"]["parts"][0]["text"]), 1.0] for one in requests)) for requests in sent]
    read = EMBEDDINGS.read(ask, answers)

    assert [len(requests) for requests in sent] == [100, 100, 50]
    assert [vector[0] for vector in read.vectors] == list(range(250))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"user": "me"}, "user"),
        ({"extras": {"input_type": msgspec.Raw(b'"search_query"')}}, "input_type"),
    ],
)
def test_what_gemini_does_not_know_is_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        written(asked("a", **options))

    assert refusal.value.field == field


@pytest.mark.parametrize("value", [b"1", b"null", b'"\xff"'])
def test_a_task_type_that_is_no_text_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidInput) as refusal:
        written(asked("a", extras={"taskType": msgspec.Raw(value)}))

    assert refusal.value.field == "taskType"


def test_vectors_that_were_cut_are_of_unit_length_again() -> None:
    (vector,) = EMBEDDINGS.read(asked("a", dimensions=2), [batch([0.3, 0.4])]).vectors

    assert vector == (0.6, 0.8)
    assert EMBEDDINGS.read(asked("a", dimensions=2), [batch([0.0, 0.0])]).vectors == ((0.0, 0.0),)


def test_vectors_that_were_not_cut_stay_as_they_are() -> None:
    assert EMBEDDINGS.read(asked("a"), [batch([0.3, 0.4])]).vectors == ((0.3, 0.4),)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_a_vector_has_a_direction_and_length_one(values: list[float]) -> None:
    (vector,) = EMBEDDINGS.read(asked("a", dimensions=len(values)), [batch(values)]).vectors

    assert math.hypot(*vector) == pytest.approx(1.0) or not any(values)  # pyright: ignore[reportUnknownMemberType]


def test_usage_is_the_sum_of_all_calls_or_unknown() -> None:
    ask = asked(*"a" * 101)
    first, last = batch(*[[1.0]] * 100, usageMetadata={"promptTokenCount": 300}), batch([1.0])
    reported = batch([1.0], usageMetadata={"promptTokenCount": 4, "promptTokenDetails": []})

    both = EMBEDDINGS.read(ask, [first, reported]).usage
    one = EMBEDDINGS.read(asked("a"), [reported]).usage

    assert both is not None and one is not None
    assert (both.tokens, one.tokens) == (Tokens(input=304), Tokens(input=4))
    assert bytes(one.raw) == b'{"promptTokenCount":4,"promptTokenDetails":[]}'
    assert EMBEDDINGS.read(ask, [first, last]).usage is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        batch(),
        batch([1.0], [1.0]),
        batch([]),
        b'{"embeddings":[{}]}',
        b'{"embeddings":[{"values":["a"]}]}',
        b'{"embeddings":[{"values":[1e999]}]}',
        b'{"embeddings":[{"values":[0.1',
        b'{"error":{"message":"Quota"}}',
    ],
)
def test_a_missing_vector_is_an_error(answer: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        EMBEDDINGS.read(asked("a"), [answer])


def test_a_missing_call_is_an_error() -> None:
    with pytest.raises(ErrorInAnswer):
        EMBEDDINGS.read(asked("a"), [])


def test_the_count_of_tokens_is_read() -> None:
    assert CountTokens().read(b'{"totalTokens":31,"promptTokensDetails":[]}') == 31


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"totalTokens":-1}', b'{"totalTokens":"\xff"}'])
def test_no_count_of_tokens_is_an_error(answer: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        CountTokens().read(answer)


QUOTA = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30.5s"},
        ],
    }
}
BAD_KEY = {
    "error": {
        "code": 400,
        "message": "API key not valid.",
        "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
    }
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            QUOTA,
            VendorError(
                message="You exceeded your current quota.",
                error_type="RESOURCE_EXHAUSTED",
                code="RESOURCE_EXHAUSTED",
                retry_after_s=30.5,
            ),
        ),
        (
            [BAD_KEY],
            VendorError(message="API key not valid.", error_type="INVALID_ARGUMENT", code="API_KEY_INVALID"),
        ),
        ({"error": {"message": "Odd", "details": {"a": 1}}}, VendorError(message="Odd")),
        (
            {"error": {"status": "UNAVAILABLE"}},
            VendorError(message="UNAVAILABLE", error_type="UNAVAILABLE", code="UNAVAILABLE"),
        ),
        ({"error": "invalid_grant"}, None),
        ({"message": "not ours"}, None),
        ([], None),
    ],
)
def test_an_error_is_read_with_its_finest_code_and_its_delay(body: Any, expected: VendorError | None) -> None:
    assert read_error(msgspec.json.encode(body)) == expected


@given(st.binary(max_size=40) | st.sampled_from([b"<html>", b"[" * 50_000, b'{"error":{"message":"\xff"}}']))
def test_what_is_no_error_of_geminis_is_none(body: bytes) -> None:
    assert read_error(body) is None
