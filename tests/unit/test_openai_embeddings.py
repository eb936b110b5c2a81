"""Embeddings of providers that speak OpenAI's format pass through as they are, and are measured."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.openai.embeddings import EmbeddingsPassthrough
from adapters.providers.vocabulary import ErrorInAnswer
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import ProviderCall

PASSTHROUGH = EmbeddingsPassthrough()
VECTOR = {"object": "embedding", "index": 0, "embedding": "YgrOPM8Nprs="}
ANSWER = {"object": "list", "data": [VECTOR], "model": "ada-v2", "usage": {"prompt_tokens": 8, "total_tokens": 8}}


def call(**members: Any) -> ProviderCall:
    return ProviderCall(
        request_id=RequestId("r"),
        endpoint="embeddings",
        upstream_model="text-embedding-ada-002",
        members={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in members.items()},
        stream=False,
        include_usage=False,
        drop_params=False,
        input_estimate=3,
        max_output_tokens=0,
    )


def test_the_request_goes_out_as_it_came_but_for_the_model_and_nulls() -> None:
    sent = PASSTHROUGH.request_body(call(model="openai/ada", input=[[1, 2]], encoding_format=None, dimensions=8))

    assert PASSTHROUGH.path == "/embeddings"
    assert msgspec.json.decode(sent) == {"model": "text-embedding-ada-002", "input": [[1, 2]], "dimensions": 8}


def test_the_answer_passes_through_as_it_is() -> None:
    body = msgspec.json.encode(ANSWER)

    reply = PASSTHROUGH.reply(body, call())

    assert reply.body == body
    assert (reply.model, reply.finish_reason, reply.output_chars) == ("ada-v2", "stop", 0)
    assert reply.usage is not None
    assert reply.usage.tokens == Tokens(input=8)
    assert msgspec.json.decode(reply.usage.raw) == ANSWER["usage"]


def test_a_provider_that_does_not_name_its_model_has_the_one_we_asked() -> None:
    assert PASSTHROUGH.reply(msgspec.json.encode(ANSWER | {"model": None}), call()).model == "text-embedding-ada-002"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 10, "total_tokens": 10, "completion_tokens": 0, "request_count": None}, 10),
        ({"total_tokens": 5}, 5),
        ({"prompt_tokens": 0, "total_tokens": 5}, 0),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": 10**9 + 1}, None),
        ({"prompt_tokens": 1.5}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_what_is_reported_or_unknown(usage: Any, tokens: int | None) -> None:
    reply = PASSTHROUGH.reply(msgspec.json.encode(ANSWER | {"usage": usage}), call())

    assert (reply.usage and reply.usage.tokens.total) == tokens


@pytest.mark.parametrize(
    ("body", "message", "kind", "code"),
    [
        (
            b'{"error":{"message":"quota","type":"insufficient_quota","code":"429"}}',
            "quota",
            "insufficient_quota",
            "429",
        ),
        (b'{"data":[1],"error":{"message":"late","code":502}}', "late", None, "502"),
        (b'{"error":"overloaded"}', "overloaded", None, None),
        (b'{"object":"error","message":"no such model"}', "no such model", None, None),
        (b'{"data":[]}', "is not a list of embeddings", None, None),
        (b'{"data":{"a":1}}', "is not a list of embeddings", None, None),
        (b"<html>", "is not a list of embeddings", None, None),
        (b'{"data":[1],"more":"\xff"}', "is not a list of embeddings", None, None),
        (b"[" * 100_000, "is not a list of embeddings", None, None),
        (b"", "is not a list of embeddings", None, None),
    ],
)
def test_an_answer_without_embeddings_is_an_error(
    body: bytes, message: str, kind: str | None, code: str | None
) -> None:
    with pytest.raises(ErrorInAnswer, match=message) as failed:
        PASSTHROUGH.reply(body, call())

    assert (failed.value.error_type, failed.value.code) == (kind, code)


@given(st.binary() | st.tuples(st.integers(0, 150), st.binary(max_size=2)))
def test_any_bytes_are_an_error_at_worst(change: bytes | tuple[int, bytes]) -> None:
    whole = msgspec.json.encode(ANSWER)
    body = change if isinstance(change, bytes) else whole[: change[0]] + change[1] + whole[change[0] + 1 :]

    with suppress(ErrorInAnswer):
        assert PASSTHROUGH.reply(body, call()).body == body
