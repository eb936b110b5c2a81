"""One AI request: admitted before anything is sent, and ended exactly once whatever happens."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any, cast

import msgspec
import pytest

from adapters.providers.sim import SimProvider
from api.ai_routes import DIALECTS
from domain.errors import (
    Busy,
    CreditExhausted,
    OutcomeUnknown,
    ProviderBroken,
    ProviderError,
    ProviderRefused,
    ProviderTimeout,
    Unavailable,
    UnsupportedParameter,
)
from domain.pricing import Tokens, ceiling_nanos, cost_nanos
from domain.request import UNPRICED, RequestAdmitted, RequestCompleted, RequestEnd, RequestFailed
from domain.upstream import ReplyPiece, Usage
from tests.answering import MESSAGES, RATES, RESERVED, UNPRICED_NANOS, House, Upstream, command, piece, reply, used


async def test_the_admission_is_durable_before_anything_is_sent_upstream() -> None:
    provider = Upstream(reply(used(10, 5)))
    house = House(provider)

    running = await house.admit()
    (admitted,) = house.requests.events
    assert isinstance(admitted, RequestAdmitted)
    assert provider.asked == 0
    assert (admitted.reserved_nanos, admitted.input_estimate_nanos) == (RESERVED, 20)
    assert admitted.lease_id == running.reservation.lease_id

    await house.handler.complete(running)
    assert provider.log_when_asked == [1]


async def test_a_success_ends_once_with_what_the_provider_reports() -> None:
    house = House(Upstream(reply(used(10, 5))))

    running, _ = await house.complete()

    end = house.requests.end
    assert isinstance(end, RequestCompleted)
    assert (end.cost_nanos, end.evidence, end.tokens) == (30, "reported", Tokens(input=10, output=5))
    assert (end.usage, end.upstream_model, end.finish_reason) == (used(10, 5).raw, "echo-1", "length")
    assert (running.end, running.end_position, house.reserved) == (end, 2, 0)


async def test_a_stream_ends_once_after_its_last_piece_with_what_the_provider_reports() -> None:
    house = House(Upstream(piece(), piece(8), piece(8), piece(usage=used(10, 5))))

    running, pieces = await house.stream()

    assert len(pieces) == 4
    end = house.requests.end
    assert isinstance(end, RequestCompleted)
    assert (end.cost_nanos, end.evidence, end.stream) == (30, "reported", True)
    assert end.first_token_ms is not None
    assert (running.delivered_chars, house.reserved) == (16, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_simulated_provider_is_charged_what_it_says(stream: bool) -> None:
    house = House(SimProvider(DIALECTS))

    await (house.stream(sim={"words": 5}) if stream else house.complete(sim={"words": 5}))

    end = house.requests.end
    assert (end.tokens, end.cost_nanos, end.evidence) == (Tokens(input=20, output=5), 40, "reported")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_ends_once_and_costs_nothing(stream: bool) -> None:
    house = House(SimProvider(DIALECTS))

    with pytest.raises(ProviderRefused):
        await (house.stream(sim={"fail": "refuse"}) if stream else house.complete(sim={"fail": "refuse"}))

    end = house.requests.end
    assert isinstance(end, RequestFailed)
    assert (end.cost_nanos, end.evidence, end.error_kind, end.upstream_status) == (0, "none", "refused", 503)
    assert house.reserved == 0


@pytest.mark.parametrize(
    "error", [ProviderBroken("sim", "cut"), ProviderTimeout("sim", "late"), KeyError("adapter bug")]
)
@pytest.mark.parametrize("before", [(), (piece(),)])
async def test_a_stream_cut_before_anything_was_delivered_costs_nothing(
    error: Exception, before: tuple[ReplyPiece, ...]
) -> None:
    house = House(Upstream(*before, error))

    with pytest.raises(ProviderError):
        await house.stream()

    end = house.requests.end
    assert isinstance(end, RequestFailed)
    assert (end.cost_nanos, end.evidence, end.tokens) == (0, "none", Tokens())
    assert house.reserved == 0


async def test_a_stream_cut_after_something_was_delivered_is_charged_on_an_estimate() -> None:
    house = House(Upstream(piece(), piece(9), ProviderBroken("sim", "cut")))

    with pytest.raises(ProviderBroken):
        await house.stream()

    end = house.requests.end
    assert isinstance(end, RequestFailed)
    assert (end.cost_nanos, end.evidence, end.tokens) == (20 + 3 * 4, "estimated", Tokens(input=20, output=3))
    assert end.message == "cut"


async def test_usage_that_comes_before_the_last_piece_counts() -> None:
    house = House(Upstream(piece(usage=used(1, 1)), piece(8, used(10, 5)), piece(8)))

    await house.stream()

    assert (house.requests.end.cost_nanos, house.requests.end.evidence) == (30, "reported")


async def test_a_stream_cut_after_usage_was_reported_is_charged_as_reported() -> None:
    house = House(Upstream(piece(9), piece(usage=used(10, 5)), ProviderBroken("sim", "cut")))

    with pytest.raises(ProviderBroken):
        await house.stream()

    assert (house.requests.end.cost_nanos, house.requests.end.evidence) == (30, "reported")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chars", [0, 1, 100, 10_000_000])
async def test_usage_that_nobody_reports_is_estimated_never_zero_never_above_the_reservation(
    *, stream: bool, chars: int
) -> None:
    house = House(Upstream(piece(chars) if stream else reply(None, chars)))

    await (house.stream() if stream else house.complete())

    end = house.requests.end
    assert (end.evidence, end.usage) == ("estimated", msgspec.Raw(b"null"))
    assert end.tokens == Tokens(input=20, output=max(1, -(-chars // 4)))
    assert 0 < end.cost_nanos <= RESERVED
    assert end.cost_nanos == min(RESERVED, cost_nanos(end.tokens, RATES))


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_is_reported_as_zero_stays_zero(*, stream: bool) -> None:
    house = House(Upstream(*(piece(40), piece(usage=used(0, 0))) if stream else (reply(used(0, 0)),)))

    await (house.stream() if stream else house.complete())

    assert (house.requests.end.cost_nanos, house.requests.end.evidence) == (0, "reported")


async def test_what_a_provider_reports_above_the_reservation_is_charged_as_reported() -> None:
    house = House(Upstream(reply(used(1_000_000, 5))))

    await house.complete()

    assert house.requests.end.cost_nanos == 1_000_020 > RESERVED


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_in_an_adapter_is_a_broken_answer_that_ends_once(*, stream: bool) -> None:
    house = House(Upstream(ZeroDivisionError("secret internals")))

    with pytest.raises(ProviderBroken, match="could not be understood"):
        await (house.stream() if stream else house.complete())

    end = house.requests.end
    assert isinstance(end, RequestFailed)
    assert (end.error_kind, "secret" in end.message, house.reserved) == ("broken", False, 0)


@pytest.mark.parametrize("loses", [False, True])
async def test_an_admission_whose_outcome_is_unknown_sends_nothing_upstream_and_ends_void(*, loses: bool) -> None:
    provider = Upstream(reply(used(10, 5)))
    house = House(provider)
    house.requests.loses = loses
    house.requests.fails = lambda event: OutcomeUnknown("silence") if isinstance(event, RequestAdmitted) else None

    with pytest.raises(OutcomeUnknown):
        await house.admit()
    await house.settles()

    end = house.requests.end
    assert isinstance(end, RequestFailed)
    assert (end.cost_nanos, end.evidence, end.error_kind) == (0, "none", "not_started")
    assert (provider.asked, house.reserved) == (0, 0)


async def test_an_admission_that_cannot_be_written_leaves_nothing() -> None:
    house = House(Upstream())

    with pytest.raises(TypeError):
        await house.admit(input_estimate=cast(int, "many"))
    await house.settles()

    assert (house.requests.events, house.reserved) == ([], 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_end_that_cannot_be_written_keeps_no_reservation(*, stream: bool) -> None:
    usage = Usage(msgspec.Raw(b"{}"), cast(Tokens, "nonsense"))
    house = House(Upstream(piece(9, usage) if stream else reply(usage)))

    with pytest.raises(AttributeError):
        await (house.stream() if stream else house.complete())

    assert house.reserved == 0


async def test_a_request_that_is_given_up_without_words_keeps_no_reservation() -> None:
    usage = Usage(msgspec.Raw(b"{}"), cast(Tokens, "nonsense"))
    house = House(Upstream(piece(9, usage), piece(9)))
    running = await house.admit(stream=True)

    with pytest.raises(AttributeError):
        async with aclosing(house.handler.stream(running)) as pieces:
            await anext(pieces)

    assert house.reserved == 0


async def test_an_admission_that_is_turned_away_leaves_nothing() -> None:
    house = House(Upstream())
    house.requests.loses = True
    house.requests.fails = lambda event: Busy("full") if isinstance(event, RequestAdmitted) else None

    with pytest.raises(Busy):
        await house.admit()
    await house.settles()

    assert (house.requests.events, house.reserved) == ([], 0)


async def test_an_admission_that_is_cancelled_ends_void() -> None:
    house = House(Upstream())
    await house.admit()
    house.requests.events.clear()

    task = asyncio.create_task(house.handler.admit(command()))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await house.settles()

    assert house.requests.end.cost_nanos == 0
    assert house.reserved == RESERVED + 1


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_log_does_not_confirm_the_end_no_success_is_told_and_the_reservation_is_released(
    *, stream: bool
) -> None:
    house = House(Upstream(piece(9) if stream else reply(used(10, 5))))
    house.requests.fails = lambda event: OutcomeUnknown("silence") if isinstance(event, RequestEnd) else None

    with pytest.raises(Unavailable):
        await (house.stream() if stream else house.complete())

    assert house.requests.end.cost_nanos > 0
    assert house.reserved == 0


async def test_when_the_log_does_not_confirm_a_failure_the_reservation_is_released_too() -> None:
    house = House(Upstream(ProviderBroken("sim", "cut")))
    house.requests.fails = lambda event: OutcomeUnknown("silence") if isinstance(event, RequestEnd) else None

    with pytest.raises(Unavailable):
        await house.complete()

    assert (house.requests.end.cost_nanos, house.reserved) == (0, 0)


async def test_a_client_that_left_is_noted_and_charged_all_the_same() -> None:
    house = House(Upstream(piece(8), piece(8), piece(usage=used(10, 5))))
    running = await house.admit(stream=True)

    async for _ in house.handler.stream(running):
        running.client_gone = True

    assert (house.requests.end.client_gone, house.requests.end.cost_nanos) == (True, 30)


async def test_a_stream_that_is_no_longer_read_ends_once_with_an_estimate() -> None:
    house = House(Upstream(piece(8), piece(8), piece(usage=used(10, 5))))
    running = await house.admit(stream=True)

    async with aclosing(cast(Any, house.handler.stream(running))) as pieces:
        await anext(pieces)
    await house.settles()

    end = house.requests.end
    assert isinstance(end, RequestFailed)
    assert (end.cost_nanos, end.evidence, end.error_kind) == (20 + 2 * 4, "estimated", "given_up")
    assert house.reserved == 0


async def test_a_call_that_is_cancelled_ends_once_with_an_estimate() -> None:
    house = House(SimProvider(DIALECTS))
    running = await house.admit(sim={"latency_ms": 60_000})
    task = asyncio.create_task(house.handler.complete(running))
    await house.settles()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await house.settles()

    assert (house.requests.end.evidence, house.requests.end.cost_nanos) == ("estimated", 24)
    assert house.reserved == 0


async def test_what_the_provider_cannot_do_is_refused_before_credit_is_touched() -> None:
    house = House(SimProvider(DIALECTS))

    with pytest.raises(UnsupportedParameter):
        await house.admit(
            members={"model": msgspec.Raw(b'"echo"'), "messages": MESSAGES, "logit_bias": msgspec.Raw(b'{"1":1}')}
        )

    assert (house.requests.events, len(house.leases)) == ([], 0)


async def test_without_credit_nothing_is_recorded_or_sent() -> None:
    provider = Upstream()
    house = House(provider)

    with pytest.raises(CreditExhausted):
        await house.handler.admit(command())

    assert (house.requests.events, provider.asked) == ([], 0)


async def test_every_choice_is_reserved_at_its_longest() -> None:
    house = House(Upstream())

    running = await house.admit(choices=3)

    assert running.reservation.amount_nanos == ceiling_nanos(1_000, 1_500, RATES)


async def test_use_without_a_price_is_quarantined_and_charged_what_is_held_for_it() -> None:
    house = House(Upstream(reply(used(10, 5))))

    running, _ = await house.complete(price=None)

    end = house.requests.end
    assert running.reservation.amount_nanos == UNPRICED_NANOS
    assert (end.price_id, end.cost_nanos, end.tokens) == (UNPRICED, UNPRICED_NANOS, Tokens(input=10, output=5))


async def test_use_without_a_price_that_delivered_nothing_costs_nothing() -> None:
    house = House(Upstream(ProviderTimeout("sim", "late")))

    with pytest.raises(ProviderTimeout):
        await house.complete(price=None)

    assert (house.requests.end.price_id, house.requests.end.cost_nanos) == (UNPRICED, 0)


async def test_an_estimate_for_what_writes_nothing_has_no_output() -> None:
    house = House(Upstream(reply(None, 0)))

    await house.complete(endpoint="embeddings", max_output_tokens=0)

    assert (house.requests.end.tokens, house.requests.end.evidence) == (Tokens(input=20), "estimated")
