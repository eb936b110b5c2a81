"""Embeddings: OpenAI's client, which asks for base64 unasked, and LangChain's, which sends tokens by default."""

import math
from typing import Any

import openai
import pytest
import tiktoken
import tiktoken.registry

from tests.e2e.running import Program
from tests.e2e.unified.catalogue import (
    ANTHROPIC,
    COHERE,
    EMBEDDING,
    EMBEDDING_USD_PER_MILLION,
    GOOGLE,
    OPENAI,
    Served,
    price_nanos,
)
from tests.e2e.unified.clients import Clients, valid
from tests.e2e.unified.conftest import StandIns
from tests.e2e.unified.records import heard_by, record_of
from tests.e2e.vendors import cohere, gemini
from tests.e2e.vendors import openai as vendor_openai

TEXTS = ["one", "three", "fourteen"]
TOKENS_A_TEXT = {"google": gemini.EMBEDDED_TOKENS, "cohere": cohere.EMBEDDED_TOKENS}
every_vendor = pytest.mark.parametrize("served", EMBEDDING, ids=str)


def vectors(served: Served, texts: list[str], dimensions: int = 3) -> list[list[float]]:
    make = {"google": gemini.vector, "cohere": cohere.vector}.get(served.provider, vendor_openai.vector)
    return [make(text, dimensions) for text in texts]


@every_vendor
@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}], ids=["base64", "float"])
def test_vectors_come_in_order_and_cost_what_was_counted(
    program: Program, clients: Clients, stand_ins: StandIns, served: Served, asked: dict[str, Any]
) -> None:
    reply = clients.openai.embeddings.create(model=served.embedding_model, input=TEXTS, **asked)
    heard_by(stand_ins[served.provider], served, program, clients.headers)
    record, tokens = record_of(program, clients.headers), TOKENS_A_TEXT.get(served.provider, 8) * len(TEXTS)

    valid(reply)
    assert [item.embedding for item in reply.data] == vectors(served, TEXTS)
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (tokens, tokens)
    assert (record["tokens"], record["evidence"]) == ({"input": tokens}, "reported")
    assert record["cost_nanos"] == price_nanos({"input": tokens}, {"input": EMBEDDING_USD_PER_MILLION})


@every_vendor
def test_shorter_vectors_are_asked_for_in_the_vendors_words(
    program: Program, clients: Clients, stand_ins: StandIns, served: Served
) -> None:
    reply = clients.openai.embeddings.create(model=served.embedding_model, input="one", dimensions=2)
    heard = heard_by(stand_ins[served.provider], served, program, clients.headers).body

    assert len(reply.data[0].embedding) == 2
    if served is GOOGLE:
        assert heard["requests"][0]["outputDimensionality"] == 2
        assert math.hypot(*reply.data[0].embedding) == pytest.approx(1, abs=1e-6)
    else:
        assert heard["output_dimension" if served is COHERE else "dimensions"] == 2


@pytest.mark.parametrize(
    ("served", "extra", "place"),
    [(COHERE, {"input_type": "search_query"}, "input_type"), (GOOGLE, {"task_type": "RETRIEVAL_QUERY"}, "taskType")],
    ids=str,
)
def test_what_vectors_are_for_can_be_said(
    program: Program, clients: Clients, stand_ins: StandIns, served: Served, extra: dict[str, str], place: str
) -> None:
    clients.openai.embeddings.create(model=served.embedding_model, input="one", extra_body=extra)
    heard = heard_by(stand_ins[served.provider], served, program, clients.headers).body

    assert heard.get("requests", [heard])[0][place] == next(iter(extra.values()))


@every_vendor
def test_langchain_embeds_texts(clients: Clients, served: Served) -> None:
    embeddings = clients.langchain_embeddings(served.embedding_model, check_embedding_ctx_length=False)

    assert embeddings.embed_documents(TEXTS) == vectors(served, TEXTS)
    assert embeddings.embed_query("seven") == vectors(served, ["seven"])[0]


@pytest.fixture
def bytes_for_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens that LangChain knows are loaded from the network; these need none."""
    encoding = tiktoken.Encoding(
        "cl100k_base",
        pat_str=r"[\s\S]",
        mergeable_ranks={bytes([byte]): byte for byte in range(256)},
        special_tokens={},
    )
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", encoding)


@pytest.mark.parametrize("served", [GOOGLE, COHERE], ids=str)
@pytest.mark.usefixtures("bytes_for_tokens")
def test_langchains_tokens_are_refused_where_they_mean_nothing(clients: Clients, served: Served) -> None:
    embeddings = clients.langchain_embeddings(served.embedding_model)

    with pytest.raises(openai.BadRequestError, match="takes text, not tokens; send strings") as refusal:
        embeddings.embed_documents(TEXTS)

    assert (refusal.value.code, refusal.value.param) == ("unsupported_parameter", "input")


@pytest.mark.usefixtures("bytes_for_tokens")
def test_langchains_tokens_pass_to_openai(program: Program, clients: Clients, stand_ins: StandIns) -> None:
    clients.langchain_embeddings(OPENAI.embedding_model).embed_documents(["one"])

    heard = heard_by(stand_ins[OPENAI.provider], OPENAI, program, clients.headers).body
    assert heard["input"] == [list(b"one")]


def test_a_chat_model_does_not_embed_and_the_refusal_names_models_that_do(clients: Clients) -> None:
    with pytest.raises(openai.BadRequestError, match="Models that can: command-embedding, ") as refusal:
        clients.openai.embeddings.create(model=ANTHROPIC.model, input="one")

    assert refusal.value.param == "model"
