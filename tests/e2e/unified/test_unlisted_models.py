"""Models that the catalogue does not list: served if the operator says so, each at a fixed price."""

from collections.abc import Generator

import anthropic
import openai
import pytest

from tests.e2e.people import is_ready
from tests.e2e.running import Program, running_beside, until
from tests.e2e.unified import ways
from tests.e2e.unified.catalogue import ALL, ANTHROPIC, Served
from tests.e2e.unified.clients import Clients
from tests.e2e.unified.conftest import StandIns
from tests.e2e.unified.records import record_of

UNPRICED_NANOS = 10_000_000
every_vendor = pytest.mark.parametrize("served", ALL, ids=str)


@pytest.fixture(scope="module")
def open_clients(program: Program) -> Generator[Clients, None, None]:
    """Of another API on the same data, which is not as strict."""
    with (
        running_beside(program, "serve", AGG_UNLISTED_MODELS="allow") as beside,
        Clients.at(beside.base_url, program.api_key) as clients,
    ):
        until(lambda: not beside.is_running or is_ready(beside.base_url))
        assert beside.is_running, beside.said
        yield clients


@every_vendor
@pytest.mark.parametrize("way", [ways.chat, ways.messages_stream], ids=lambda way: way.__name__)
def test_an_unlisted_model_is_served_at_the_ceiling(
    program: Program, open_clients: Clients, stand_ins: StandIns, way: ways.Way, served: Served
) -> None:
    told = way(open_clients, f"{served.provider}/of-tomorrow", "words 3")
    (heard,) = stand_ins[served.provider].heard_for(told.headers["x-request-id"])
    record = record_of(program, told.headers)

    assert told.text == "word0 word1 word2 "
    assert "of-tomorrow" in (heard.body.get("model") or heard.path)
    assert (record["price_id"], record["cost_nanos"]) == ("unpriced", UNPRICED_NANOS)
    assert (record["model"], record["evidence"]) == (f"{served.provider}/of-tomorrow", "reported")


def test_a_listed_model_keeps_its_price(program: Program, open_clients: Clients) -> None:
    told = ways.chat(open_clients, ANTHROPIC.model, "words 3")

    assert record_of(program, told.headers)["price_id"].startswith(f"{ANTHROPIC.model}@")


def test_an_unlisted_model_that_refuses_costs_nothing(program: Program, open_clients: Clients) -> None:
    with pytest.raises(openai.RateLimitError):
        ways.chat(open_clients, "anthropic/of-tomorrow", "refuse 429")

    assert record_of(program, open_clients.headers)["cost_nanos"] == 0


def test_a_model_of_no_provider_is_not_found_there_either(open_clients: Clients) -> None:
    with pytest.raises(openai.NotFoundError):
        ways.chat(open_clients, "nobody/of-tomorrow", "words 3")


@every_vendor
def test_without_leave_an_unlisted_model_is_not_found(clients: Clients, stand_ins: StandIns, served: Served) -> None:
    heard = len(stand_ins[served.provider].heard)

    with pytest.raises(openai.NotFoundError) as refusal:
        ways.chat(clients, f"{served.provider}/of-tomorrow", "words 3")
    with pytest.raises(anthropic.NotFoundError) as other_refusal:
        ways.messages(clients, f"{served.provider}/of-tomorrow", "words 3")

    assert (refusal.value.code, refusal.value.param) == ("model_not_found", "model")
    assert other_refusal.value.type == "not_found_error"
    assert len(stand_ins[served.provider].heard) == heard
