"""What a vendor's failures are to a client, in the client's own errors, and what they cost."""

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.running import Program
from tests.e2e.unified import ways
from tests.e2e.unified.catalogue import ALL, Served, Tokens, price_nanos, reported
from tests.e2e.unified.clients import Clients
from tests.e2e.unified.conftest import StandIns
from tests.e2e.unified.records import heard_by, record_of
from tests.e2e.vendors.script import SAID_BEFORE_FAILING, Saying, words

WAITS = {"openai": "7", "anthropic": "12", "google": "34", "cohere": "21", "nimbus": "7"}
OVERLOADED = {"anthropic": 529}
CHARS_PER_TOKEN = 4
BROKEN = "The provider's answer was cut off|ended without its end mark|connection to the provider was lost"

WHOLE_WAYS = (ways.chat, ways.completion, ways.responses, ways.messages)
STREAM_WAYS = (ways.chat_stream, ways.completion_stream, ways.responses_stream, ways.messages_stream)
every_vendor = pytest.mark.parametrize("served", ALL, ids=str)
every_whole_way = pytest.mark.parametrize("way", WHOLE_WAYS, ids=lambda way: way.__name__)
every_stream_way = pytest.mark.parametrize("way", STREAM_WAYS, ids=lambda way: way.__name__)
either_way = pytest.mark.parametrize("way", [ways.chat, ways.messages_stream], ids=lambda way: way.__name__)


def is_anthropics(way: ways.Way) -> bool:
    return way in (ways.messages, ways.messages_stream)


def refused(call: Callable[[], Any]) -> Any:
    """The client's own error, of an answer with an error status."""
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as refusal:
        call()
    return refusal.value


@every_vendor
@either_way
def test_a_rate_limit_passes_with_the_vendors_wait(
    program: Program, clients: Clients, way: ways.Way, served: Served
) -> None:
    error = refused(lambda: way(clients, served.model, "refuse 429"))
    record = record_of(program, clients.headers)

    assert isinstance(error, openai.RateLimitError | anthropic.RateLimitError)
    assert error.response.headers["retry-after"] == WAITS[served.provider]
    assert error.type == "rate_limit_error"
    assert (record["status"], record["cost_nanos"], record["evidence"]) == ("failed", 0, "none")
    assert (record["error_kind"], record["upstream_status"]) == ("refused", 429)


@every_vendor
@either_way
def test_an_overloaded_vendor_is_a_bad_gateway_and_costs_nothing(
    program: Program, clients: Clients, way: ways.Way, served: Served
) -> None:
    status = OVERLOADED.get(served.provider, 503)

    error = refused(lambda: way(clients, served.model, f"refuse {status}"))
    record = record_of(program, clients.headers)

    assert isinstance(error, openai.InternalServerError | anthropic.InternalServerError)
    assert error.status_code == 502
    assert error.response.headers.get("x-should-retry") is None
    assert (record["status"], record["cost_nanos"], record["upstream_status"]) == ("failed", 0, status)


@every_vendor
@either_way
def test_our_own_bad_key_is_not_told_as_the_clients(
    program: Program, clients: Clients, stand_ins: StandIns, way: ways.Way, served: Served
) -> None:
    error = refused(lambda: way(clients, served.model, "refuse 401"))

    assert isinstance(error, openai.InternalServerError | anthropic.InternalServerError)
    assert error.status_code == 502
    assert "does not accept this gateway's credentials" in error.message
    assert stand_ins[served.provider].key not in str(error.body)
    assert record_of(program, clients.headers)["cost_nanos"] == 0


@every_vendor
@every_whole_way
def test_an_error_inside_a_good_answer_is_an_error(
    program: Program, clients: Clients, way: ways.Way, served: Served
) -> None:
    error = refused(lambda: way(clients, served.model, "fail"))
    record = record_of(program, clients.headers)

    assert isinstance(error, openai.InternalServerError | anthropic.InternalServerError)
    assert error.status_code == 502
    assert error.type == ("api_error" if is_anthropics(way) else "server_error")
    assert (record["status"], record["error_kind"], record["cost_nanos"]) == ("failed", "broken", 0)


@every_vendor
@every_stream_way
@pytest.mark.parametrize("ending", ["cut 4", "fade 4", "fail"])
def test_a_stream_that_breaks_raises_and_costs_what_was_delivered(
    program: Program, clients: Clients, way: ways.Way, served: Served, ending: str
) -> None:
    with pytest.raises((openai.APIError, anthropic.APIError)) as failure:
        way(clients, served.model, ending)
    record = record_of(program, clients.headers)
    delivered = words(SAID_BEFORE_FAILING if ending == "fail" else 4)
    tokens, evidence = delivered_tokens(served, delivered, record)

    assert isinstance(failure.value, anthropic.APIStatusError if is_anthropics(way) else openai.APIError)
    assert (record["status"], record["error_kind"], record["evidence"]) == ("failed", "broken", evidence)
    assert record["tokens"] == tokens
    assert record["cost_nanos"] == charge_nanos(tokens, evidence, record)
    if ending != "fail":
        failure.match(BROKEN)


def charge_nanos(tokens: Tokens, evidence: str, record: dict[str, Any]) -> int:
    """An estimate is not more than was reserved."""
    price = price_nanos(tokens)
    return price if evidence == "reported" else min(price, record["reserved_nanos"])


def delivered_tokens(served: Served, delivered: tuple[str, ...], record: dict[str, Any]) -> tuple[Tokens, str]:
    """Google reports with every event; Anthropic its prompt with the first; the others at the end, so never."""
    estimate = -(-len("".join(delivered)) // CHARS_PER_TOKEN)
    if served.provider == "google":
        return reported(served, Saying(words=delivered)), "reported"
    if served.provider == "anthropic":
        prompt = {name: count for name, count in reported(served, Saying()).items() if count}
        return {**prompt, "output": estimate}, "estimated"
    return {"input": record["input_estimate"], "output": estimate}, "estimated"


@every_vendor
@pytest.mark.parametrize(
    ("path", "asked", "good_end"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "cut 4"}]}, "[DONE]"),
        ("/v1/completions", {"prompt": "cut 4"}, "[DONE]"),
        ("/v1/responses", {"input": "cut 4"}, "response.completed"),
        ("/v1/messages", {"messages": [{"role": "user", "content": "cut 4"}], "max_tokens": 50}, "message_stop"),
    ],
    ids=["chat", "completions", "responses", "messages"],
)
def test_a_broken_stream_ends_with_an_error_and_with_nothing_that_says_all_is_well(
    clients: Clients, served: Served, path: str, asked: dict[str, Any], good_end: str
) -> None:
    answer = clients.plain.post(path, json={"model": served.model, "stream": True, **asked})
    last = [event for event in answer.text.split("\n\n") if event][-1]

    assert answer.status_code == 200
    assert "word3" in answer.text
    assert '"error":{' in last
    assert last.startswith("data: " if good_end == "[DONE]" else "event: error\ndata: ")
    assert good_end not in answer.text


def test_what_a_vendor_has_no_words_for_is_refused_by_name_and_never_sent(
    clients: Clients, stand_ins: StandIns
) -> None:
    for served, options, place in (
        (ALL[1], {"seed": 7}, "seed"),
        (ALL[2], {"logit_bias": {"5": 1}}, "logit_bias"),
        (ALL[3], {"n": 2}, "n"),
    ):
        heard = len(stand_ins[served.provider].heard)
        error = refused(lambda: ways.chat(clients, served.model, "words 1", **options))  # noqa: B023  # called at once

        assert isinstance(error, openai.BadRequestError)
        assert (error.code, error.param) == ("unsupported_parameter", place)
        assert len(stand_ins[served.provider].heard) == heard


def test_what_may_be_dropped_is_dropped_and_told(program: Program, clients: Clients, stand_ins: StandIns) -> None:
    told = ways.chat(clients, ALL[1].model, "words 1", seed=7, extra_body={"drop_params": True})
    heard = heard_by(stand_ins["anthropic"], ALL[1], program, told.headers)

    assert told.headers["x-agg-dropped"] == "seed"
    assert heard.body.keys() == {"model", "max_tokens", "messages"}


def test_the_vendors_complaint_about_the_request_itself_is_the_clients(clients: Clients) -> None:
    wrong: Any = {"type": "thinking", "thinking": "hm", "signature": "forged"}
    history: Any = [
        {"role": "user", "content": "words 1"},
        {"role": "assistant", "content": [wrong, {"type": "text", "text": "word0"}]},
        {"role": "user", "content": "words 1"},
    ]
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        clients.anthropic.messages.create(model=ALL[1].model, max_tokens=50, messages=history)
