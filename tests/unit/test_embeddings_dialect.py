"""OpenAI's embeddings as its clients ask for them, and the answer as its own SDK reads it."""

from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI
from openai.types import CreateEmbeddingResponse

from adapters.dialects.dialect import ClientRequest
from adapters.dialects.embeddings import EmbeddingsDialect
from domain.catalog import Model
from domain.embedding import EmbeddingAsk, Embeddings
from domain.errors import InvalidInput, UnsupportedParameter
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Usage

DIALECT = EmbeddingsDialect()
VECTORS = ((0.5, -0.25, 1.0), (0.1, 2.0, -3.0))
ANSWER = Embeddings(
    model="embed-v4.0", vectors=VECTORS, usage=Usage(msgspec.Raw(b"{}"), Tokens(input=6, cached_input=1))
)
EMBED = Model(context_length=8192, max_output_tokens=1)


def check(**members: Any) -> ClientRequest:
    return DIALECT.check(msgspec.json.encode({"model": "embed", "input": "Hi", **members}))


def call(**members: Any) -> ProviderCall:
    return ProviderCall(
        request_id=RequestId("r"),
        endpoint="embeddings",
        upstream_model="embed-v4.0",
        members=check(**members).members,
        stream=False,
        include_usage=False,
        drop_params=False,
        input_estimate=9,
        max_output_tokens=0,
    )


@pytest.mark.parametrize(
    ("asked", "entries", "text_bytes"),
    [
        ("Größe", 1, 7),
        (["a", "bc"], 2, 3),
        ([1, 2, 3], 1, 12),
        ([[1, 2], [3]], 2, 12),
        (["x"] * 2048, 2048, 2048),
        ([7] * 8000, 1, 32_000),
    ],
)
def test_every_form_of_input_is_measured(asked: Any, entries: int, text_bytes: int) -> None:
    request = check(input=asked)

    assert (request.endpoint, request.model, request.stream) == ("embeddings", "embed", False)
    assert (request.entries, request.text_bytes) == (entries, text_bytes)
    assert request.max_output_tokens(EMBED) == 0


def test_members_are_kept_but_for_nulls_and_what_the_gateway_alone_is_told() -> None:
    request = check(dimensions=256, user=None, drop_params=True, input_type="search_query")

    assert request.drop_params
    assert {name: bytes(value) for name, value in request.members.items()} == {
        "model": b'"embed"',
        "input": b'"Hi"',
        "dimensions": b"256",
        "input_type": b'"search_query"',
    }


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [""]}, "input[0]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [["a"]]}, "input[0][0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [1, [1]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [[1]] * 2049}, "input"),
        ({"input": None}, "input"),
        ({"input": {}}, "input"),
        ({"model": ""}, "model"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"user": 5}, "user"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(members: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check(**members)

    assert refusal.value.field == field
    assert str(refusal.value).startswith(field)


def test_a_body_without_input_or_that_is_no_json_is_refused() -> None:
    for body in (b'{"model":"m"}', b"{", b"[]", b"", b'{"model":"m","input":"\xff"}'):
        with pytest.raises(InvalidInput):
            DIALECT.check(body)


@given(st.binary() | st.binary().map(lambda junk: b'{"model":"m","input":' + junk + b"}"))
def test_any_body_is_invalid_at_worst(body: bytes) -> None:
    try:
        DIALECT.check(body)
    except InvalidInput as refusal:
        assert str(refusal)


def test_a_request_is_read_for_providers_of_other_formats() -> None:
    assert DIALECT.read(call(input=["a", "b"], dimensions=64, user="u", encoding_format="base64", truncate="END")) == (
        EmbeddingAsk(
            model="embed-v4.0", inputs=("a", "b"), dimensions=64, user="u", extras={"truncate": msgspec.Raw(b'"END"')}
        )
    )
    assert DIALECT.read(call(input="a")) == EmbeddingAsk(model="embed-v4.0", inputs=("a",))


@pytest.mark.parametrize("tokens", [[1, 2], [[1], [2]]])
def test_tokens_are_for_openai_only(tokens: Any) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        DIALECT.read(call(input=tokens))

    assert (refusal.value.field, refusal.value.capability) == ("input", "token_arrays")


def test_the_answer_is_openais() -> None:
    answer = CreateEmbeddingResponse.model_validate_json(
        DIALECT.whole(ANSWER, call(encoding_format="float")), strict=True
    )

    assert answer.model == "embed-v4.0"
    assert [(item.index, tuple(item.embedding)) for item in answer.data] == list(enumerate(VECTORS))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 7)


def test_what_nobody_counted_is_told_as_estimated() -> None:
    answer = msgspec.json.decode(DIALECT.whole(msgspec.structs.replace(ANSWER, usage=None), call()))

    assert answer["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


def test_base64_is_little_endian_float32() -> None:
    answer = msgspec.json.decode(DIALECT.whole(ANSWER, call(encoding_format="base64")))

    assert answer["data"][0] == {"object": "embedding", "index": 0, "embedding": "AAAAPwAAgL4AAIA/"}


def test_floats_beyond_float32_do_not_break_the_answer() -> None:
    huge = msgspec.structs.replace(ANSWER, vectors=((1e300,),))

    assert (
        msgspec.json.decode(DIALECT.whole(huge, call(encoding_format="base64")))["data"][0]["embedding"] == "AACAfw=="
    )


def test_openais_own_client_gets_its_vectors_back() -> None:
    def gateway(request: httpx2.Request) -> httpx2.Response:
        checked = DIALECT.check(request.content)
        asked = msgspec.structs.replace(call(), members=checked.members)
        assert DIALECT.read(asked).inputs == ("a", "b")
        return httpx2.Response(200, content=DIALECT.whole(ANSWER, asked), headers={"content-type": "application/json"})

    http = httpx2.Client(transport=httpx2.MockTransport(gateway))
    with OpenAI(api_key="k", base_url="http://gateway/v1", http_client=http) as client:
        answer = client.embeddings.create(model="embed", input=["a", "b"])

    assert answer.data[0].embedding == list(VECTORS[0])
    assert answer.data[1].embedding == pytest.approx(VECTORS[1])
