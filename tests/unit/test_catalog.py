"""The catalogue: what is listed, what it costs, and what is refused."""

from datetime import UTC, datetime

import msgspec
import pytest

from adapters.catalog.file import read_catalog
from domain.catalog import MODEL, ModelListed, ModelPriced, evolve, list_model, price_model
from domain.errors import InvalidInput
from domain.pricing import Rates

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DEARER = Rates(input=9, output=9)
LISTED, PRICED = read_catalog(None, NOW)[0]


def test_what_ships_is_listed_and_priced_once() -> None:
    for listed, priced in read_catalog(None, NOW):
        model = MODEL.fold([*list_model(MODEL.initial(), listed), *price_model(MODEL.initial(), priced)])

        assert list_model(model, listed) == []
        assert price_model(model, priced) == []
        assert model.price_at(NOW) is not None


def test_a_new_price_is_appended_and_the_old_one_stays_in_force_before_it() -> None:
    later = datetime(2026, 12, 1, tzinfo=UTC)
    dearer = ModelPriced(
        model=PRICED.model, at=NOW, price_id="dearer", valid_from=later, rates=Rates(input=9, output=9)
    )
    model = MODEL.fold([LISTED, PRICED, *price_model(MODEL.fold([LISTED, PRICED]), dearer)])

    assert [price.price_id for price in model.prices] == [PRICED.price_id, "dearer"]
    before, after = model.price_at(NOW), model.price_at(later)
    assert before and before.price_id == PRICED.price_id
    assert after and after.price_id == "dearer"


def test_a_price_below_zero_is_refused() -> None:
    paying = msgspec.structs.replace(PRICED, rates=Rates(input=-1, output=1))

    with pytest.raises(InvalidInput, match="below 0"):
        price_model(evolve(MODEL.initial(), LISTED), paying)


def test_a_model_without_a_size_is_refused() -> None:
    sizeless: ModelListed = msgspec.structs.replace(LISTED, context_length=0)

    with pytest.raises(InvalidInput, match="context length"):
        list_model(MODEL.initial(), sizeless)
