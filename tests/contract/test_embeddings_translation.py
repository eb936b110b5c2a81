"""Embeddings of every provider that has them, as OpenAI's own SDK reads them."""

from array import array
from base64 import b64decode
from typing import Any

import msgspec
import pytest
from openai.types import CreateEmbeddingResponse

from domain.errors import InvalidInput, ProviderBroken, UnsupportedParameter
from domain.pricing import Tokens
from tests.contract.recorded_providers import FIXTURES, call, completed, provider_answering

EMBEDDING = ["openai", "compatible", "google", "cohere"]
TRANSLATED = ["google", "cohere"]
VECTORS = [[0.6, 0.8], [1.0, 0.0]]
REPORTS = {"openai": "usage", "compatible": "usage", "google": "usageMetadata", "cohere": "meta"}


def recorded(provider: str) -> bytes:
    return (FIXTURES / provider / "embeddings.json").read_bytes()


def asked(provider: str, **said: Any) -> Any:
    return call(provider, "embeddings", stream=False, **said)


@pytest.mark.parametrize("provider", EMBEDDING)
async def test_vectors_come_in_order_with_what_they_cost(provider: str) -> None:
    reply = await completed(provider, asked(provider, encoding_format="float"), recorded(provider))

    answer = CreateEmbeddingResponse.model_validate_json(reply.body, strict=True)
    assert [(one.index, one.embedding) for one in answer.data] == list(enumerate(VECTORS))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (4, 4)
    assert reply.usage is not None
    assert reply.usage.tokens == Tokens(input=4)
    said = msgspec.json.decode(recorded(provider), type=dict[str, msgspec.Raw])
    assert bytes(reply.usage.raw) == bytes(said[REPORTS[provider]])


@pytest.mark.parametrize("provider", TRANSLATED)
async def test_vectors_are_base64_for_who_asks_so(provider: str) -> None:
    reply = await completed(provider, asked(provider, encoding_format="base64"), recorded(provider))

    data = msgspec.json.decode(reply.body)["data"]
    assert [list(array("f", b64decode(one["embedding"]))) for one in data] == [list(array("f", one)) for one in VECTORS]


@pytest.mark.parametrize("provider", TRANSLATED)
def test_what_is_said_is_told_or_refused(provider: str) -> None:
    def sent(**said: Any) -> list[bytes]:
        prepared: Any = provider_answering(provider, b"").prepare(asked(provider, **said))
        return [body for _, body in prepared._requests]

    assert sent(dimensions=2) != sent()
    assert sent(input=["c"]) != sent()
    with pytest.raises(UnsupportedParameter, match="of_tomorrow"):
        sent(of_tomorrow=1)
    with pytest.raises(UnsupportedParameter, match="tokens"):
        sent(input=[1, 2])


@pytest.mark.parametrize("provider", EMBEDDING)
async def test_an_error_with_a_good_status_is_no_vector(provider: str) -> None:
    words = {"cohere": b'{"id":"e9","message":"The server is overloaded."}'}
    body = words.get(provider, b'{"error":{"code":503,"message":"The server is overloaded."}}')

    with pytest.raises(ProviderBroken, match="overloaded"):
        await completed(provider, asked(provider), body)


@pytest.mark.parametrize("provider", EMBEDDING)
def test_vectors_are_not_streamed(provider: str) -> None:
    with pytest.raises(InvalidInput, match="answers whole"):
        provider_answering(provider, b"").prepare(asked(provider)).stream()


def test_who_has_none_says_so() -> None:
    with pytest.raises(UnsupportedParameter, match="anthropic has no embeddings"):
        provider_answering("anthropic", b"").prepare(asked("anthropic"))
