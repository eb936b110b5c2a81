"""The catalogue: what is listed, what it costs from when, and what is refused."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.catalog.file import read_catalog
from domain.catalog import MODEL, Model, ModelListed, ModelPriced, evolve, list_model, name_price, price_model
from domain.errors import InvalidInput
from domain.pricing import Rates, Tier

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ENTRIES = {listed.model: (listed, prices) for listed, prices in read_catalog(None, NOW)}
LISTED, PRICES = ENTRIES["o3"]
DAYS = st.integers(0, 6)
SCHEDULE = st.dictionaries(DAYS, st.integers(1, 3), min_size=1)


def day(number: int) -> datetime:
    return NOW + timedelta(days=number)


def told(schedule: dict[int, int], at: datetime = NOW) -> list[ModelPriced]:
    return [price(number, rate, at) for number, rate in schedule.items()]


def price(number: int, rate: int, at: datetime = NOW, batch: int | None = None) -> ModelPriced:
    rates, batched = Rates(input=rate), Rates(input=batch) if batch is not None else None
    price_id = name_price("m", day(number), at, rates, batched)
    return ModelPriced(model="m", at=at, price_id=price_id, valid_from=day(number), rates=rates, batch=batched)


def after(model: Model, prices: list[ModelPriced]) -> Model:
    for fact in price_model(model, *prices):
        model = evolve(model, fact)
    return model


def rate_on(model: Model, number: int) -> int | None:
    held = model.price_at(day(number))
    return held and held.rates.input


def test_what_ships_is_listed_and_priced_once() -> None:
    for listed, prices in ENTRIES.values():
        model = MODEL.fold([*list_model(MODEL.initial(), listed), *price_model(MODEL.initial(), *prices)])

        assert list_model(model, listed) == []
        assert price_model(model, *prices) == []
        assert [each.price_id for each in model.prices] == [each.price_id for each in prices]


def test_a_new_price_is_appended_and_the_old_one_stays_in_force_before_it() -> None:
    model = after(MODEL.fold([]), [price(0, 1)])

    both = after(model, [price(5, 2)])

    assert [each.rates.input for each in both.prices] == [1, 2]
    assert [rate_on(both, number) for number in (-1, 0, 4, 5, 9)] == [None, 1, 1, 2, 2]


@given(st.lists(SCHEDULE, max_size=3), SCHEDULE)
def test_from_the_first_told_price_on_the_model_costs_what_is_told_whatever_was_known(
    known: list[dict[int, int]], told_now: dict[int, int]
) -> None:
    model = MODEL.initial()
    for number, schedule in enumerate(known):
        model = after(model, told(schedule, day(-9 + number)))

    corrected = after(model, told(told_now))

    for number in range(-1, 8):
        in_force = [start for start in told_now if start <= number]
        expected = told_now[max(in_force)] if in_force else rate_on(model, number)
        assert rate_on(corrected, number) == expected
    assert price_model(corrected, *told(told_now, day(3))) == []
    assert corrected.prices[: len(model.prices)] == model.prices
    assert len({each.price_id for each in corrected.prices}) == len(corrected.prices)


def test_no_price_is_told_is_nothing_to_record() -> None:
    assert price_model(after(MODEL.initial(), [price(0, 1)])) == []


def test_another_price_for_batches_is_another_price() -> None:
    model = after(MODEL.initial(), [price(0, 2)])

    facts = price_model(model, price(0, 2, batch=1))

    assert [fact.batch for fact in facts if isinstance(fact, ModelPriced)] == [Rates(input=1)]


@pytest.mark.parametrize(
    "rates",
    [
        Rates(input=-1, output=1),
        Rates(cached_input=-1),
        Rates(above=(Tier(1, Rates(output=-1)),)),
    ],
)
@pytest.mark.parametrize("field", ["rates", "batch"])
def test_a_price_below_zero_is_refused(rates: Rates, field: str) -> None:
    paying = msgspec.structs.replace(PRICES[0], **{field: rates})

    with pytest.raises(InvalidInput, match="below 0"):
        price_model(evolve(MODEL.initial(), LISTED), paying)


@pytest.mark.parametrize(
    "above",
    [
        (Tier(2, Rates()), Tier(1, Rates())),
        (Tier(1, Rates()), Tier(1, Rates())),
        (Tier(-1, Rates()),),
        (Tier(1, Rates(above=(Tier(2, Rates()),))),),
    ],
)
def test_tiers_out_of_order_are_refused(above: tuple[Tier, ...]) -> None:
    with pytest.raises(InvalidInput, match="the lowest first"):
        price_model(MODEL.initial(), msgspec.structs.replace(PRICES[0], rates=Rates(above=above)))


def test_a_model_without_a_size_is_refused() -> None:
    sizeless: ModelListed = msgspec.structs.replace(LISTED, context_length=0)
    silent: ModelListed = msgspec.structs.replace(LISTED, max_output_tokens=0)
    embedding: ModelListed = msgspec.structs.replace(silent, kind="embedding")

    for listed in (sizeless, silent):
        with pytest.raises(InvalidInput, match="context length"):
            list_model(MODEL.initial(), listed)
    assert list_model(MODEL.initial(), embedding) == [embedding]


def test_a_model_that_can_something_new_is_listed_again() -> None:
    model = evolve(MODEL.initial(), LISTED)
    abler: ModelListed = msgspec.structs.replace(LISTED, capabilities=(*LISTED.capabilities, "dimensions"))

    assert list_model(model, abler) == [abler]
    assert evolve(model, abler).capabilities == abler.capabilities


def test_a_state_of_an_earlier_release_is_a_model_that_chats() -> None:
    raw = (
        b'{"model":"m","provider":"p","upstream_model":"u","context_length":1,"max_output_tokens":1,"owned_by":"o",'
        b'"input_modalities":["text"],"listed_at":"2026-01-02T03:04:05Z","prices":[{"price_id":"p1",'
        b'"valid_from":"2026-01-02T03:04:05Z","known_since":"2026-01-02T03:04:05Z","rates":{"input":3}}]}'
    )

    model = msgspec.json.decode(raw, type=Model)

    assert (model.kind, model.capabilities, model.prices[0].batch) == ("chat", (), None)
    assert model.prices[0].rates == Rates(input=3)
