"""Embeddings by Cohere: at most 96 texts a call, one answer in the order of the input."""

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from cohere.types.embed_by_type_response import EmbedByTypeResponse
from cohere.v2.raw_client import RawV2Client
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.cohere.embeddings import CohereEmbeddings
from adapters.providers.vocabulary import ErrorInAnswer
from domain.chat import Expressible
from domain.embedding import EmbeddingAsk
from domain.errors import UnsupportedParameter
from domain.pricing import Tokens

COHERE = CohereEmbeddings()


def ask(*inputs: str, **options: Any) -> EmbeddingAsk:
    return EmbeddingAsk(model="embed-v4.0", inputs=inputs or ("Hi",), **options)


def bodies(asked: EmbeddingAsk) -> list[dict[str, Any]]:
    requests = COHERE.requests(asked, Expressible("Cohere", {}, drop=False))
    assert {path for path, _ in requests} == {"/v2/embed"}
    sent = [msgspec.json.decode(body) for _, body in requests]
    assert all(body.keys() <= inspect.signature(RawV2Client.embed).parameters.keys() for body in sent)
    return sent


def answer(vectors: Sequence[Sequence[float]], tokens: int | None = 4) -> bytes:
    meta = {"api_version": {"version": "2"}, "billed_units": {"image_tokens": 0, "input_tokens": tokens}}
    said = {"id": "e1", "embeddings": {"float": vectors}, "texts": ["hi"], "meta": meta}
    EmbedByTypeResponse.model_validate(said)
    return msgspec.json.encode(said)


def test_a_text_is_embedded_as_a_document_unless_told_otherwise() -> None:
    assert bodies(ask("Hi")) == [
        {"model": "embed-v4.0", "input_type": "search_document", "embedding_types": ["float"], "texts": ["Hi"]}
    ]
    extras = {"input_type": msgspec.Raw(b'"search_query"'), "truncate": msgspec.Raw(b'"NONE"')}
    (sent,) = bodies(ask("Hi", dimensions=256, extras=extras))
    assert (sent["input_type"], sent["truncate"], sent["output_dimension"]) == ("search_query", "NONE", 256)


def test_more_than_96_texts_are_split_and_put_together_in_their_order() -> None:
    texts = [f"text {number}" for number in range(193)]
    asked = ask(*texts)
    sent = [body["texts"] for body in bodies(asked)]
    answers = [answer([[float(text.split()[1]), 0.5] for text in part], len(part)) for part in sent]

    embeddings = COHERE.read(asked, answers)

    assert [len(part) for part in sent] == [96, 96, 1]
    assert [text for part in sent for text in part] == texts
    assert embeddings.vectors == tuple((float(number), 0.5) for number in range(193))
    assert embeddings.usage is not None
    assert embeddings.usage.tokens == Tokens(input=193)
    reported = msgspec.json.decode(embeddings.usage.raw)
    assert [meta["billed_units"]["input_tokens"] for meta in reported] == [96, 96, 1]


def test_one_call_reports_its_usage_verbatim() -> None:
    body = answer([[0.1, -2.5e-05]])

    embeddings = COHERE.read(ask(), [body])

    assert embeddings.vectors == ((0.1, -2.5e-05),)
    assert embeddings.usage is not None
    assert embeddings.usage.tokens == Tokens(input=4)
    assert bytes(embeddings.usage.raw) in body


def test_usage_is_unknown_when_one_of_the_calls_does_not_report_it() -> None:
    full, rest = answer([[1.0]] * 96), answer([[1.0]], None)

    assert COHERE.read(ask(*["x"] * 97), [full, rest]).usage is None


def test_what_cohere_lacks_is_refused_or_dropped_and_told() -> None:
    asked = ask(user="u", extras={"task_type": msgspec.Raw(b'"x"')})
    allowed = Expressible("Cohere", {}, drop=True)

    with pytest.raises(UnsupportedParameter, match="task_type"):
        bodies(asked)
    ((_, body),) = COHERE.requests(asked, allowed)
    assert allowed.dropped == ["task_type", "user"]
    assert not {"task_type", "user"} & msgspec.json.decode(body).keys()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (answer([[1.0]]), "1 vectors for 2 texts"),
        (answer([[1.0], []]), "1 vectors for 2 texts"),
        (answer([[1.0]] * 3), "3 vectors for 2 texts"),
        (b'{"id":"1","message":"invalid request: no"}', "invalid request: no"),
        (b'{"embeddings":{"int8":[[1],[2]]}}', "not readable"),
        (b'{"embeddings":[[1.0],[2.0]]}', "not readable"),
        (b'{"embeddings":{"float":[["1"],[null]]}}', "not readable"),
        (b'{"embeddings":{"float":[[1e999],[1]]}}', "not readable"),
        (b"<html>", "not readable"),
        (b"", "not readable"),
    ],
)
def test_an_answer_without_every_vector_is_an_error(body: bytes, message: str) -> None:
    with pytest.raises(ErrorInAnswer, match=message):
        COHERE.read(ask("a", "b"), [body])


def test_an_answer_too_few_is_an_error() -> None:
    with pytest.raises(ErrorInAnswer, match="1 of 2 calls"):
        COHERE.read(ask(*["x"] * 97), [answer([[1.0]] * 96)])


@given(st.binary() | st.tuples(st.integers(0, 90), st.binary(max_size=2)))
def test_any_bytes_are_an_error_at_worst(change: bytes | tuple[int, bytes]) -> None:
    whole = answer([[0.1, 0.2]])
    body = change if isinstance(change, bytes) else whole[: change[0]] + change[1] + whole[change[0] + 1 :]

    with suppress(ErrorInAnswer):
        COHERE.read(ask(), [body])
