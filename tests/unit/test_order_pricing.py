"""What an order costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.chassis.errors import Invalid
from tradewind.contracts.money import Money
from tradewind.services.order.domain.pricing import (
    MAX_QUANTITY,
    MAX_UNIT_PRICE_MINOR,
    Article,
    Wanted,
    merged,
    priced,
    total_of,
)

CATALOGUE = {
    "mug": Article("mug", "Mug", Money(1_250, "EUR")),
    "tea": Article("tea", "Tea", Money(499, "EUR")),
    "cap": Article("cap", "Cap", Money(900, "USD")),
    "ship": Article("ship", "Ship", Money(MAX_UNIT_PRICE_MINOR, "EUR")),
}
WANTED = st.lists(
    st.builds(Wanted, st.sampled_from(["mug", "tea"]), st.integers(1, 10), st.just(0)), min_size=1, max_size=40
)


def test_lines_with_the_same_sku_add_up_where_the_first_one_was() -> None:
    assert merged([Wanted("tea", 2, 0), Wanted("mug", 1, 1), Wanted("tea", 3, 2)]) == [
        Wanted("tea", 5, 0),
        Wanted("mug", 1, 1),
    ]


def test_lines_that_add_up_to_too_much_are_refused_at_the_line_that_is_too_much() -> None:
    with pytest.raises(Invalid) as refused:
        merged([Wanted("tea", MAX_QUANTITY, 0), Wanted("mug", 1, 1), Wanted("tea", 1, 2)])
    assert [(error.pointer, error.code) for error in refused.value.errors] == [("/lines/2/quantity", "range")]


def test_prices_are_the_catalogues() -> None:
    lines = priced([Wanted("mug", 3, 0), Wanted("tea", 1, 1)], CATALOGUE)
    assert [(line.sku, line.name, line.quantity, line.unit_price, line.total) for line in lines] == [
        ("mug", "Mug", 3, Money(1_250, "EUR"), Money(3_750, "EUR")),
        ("tea", "Tea", 1, Money(499, "EUR"), Money(499, "EUR")),
    ]
    assert total_of(lines) == Money(4_249, "EUR")


def test_every_unknown_sku_is_named() -> None:
    with pytest.raises(Invalid) as refused:
        priced([Wanted("mug", 1, 0), Wanted("hat", 1, 1), Wanted("bag", 1, 5)], CATALOGUE)
    assert (refused.value.code, refused.value.status) == ("unknown-sku", 422)
    assert [error.pointer for error in refused.value.errors] == ["/lines/1/sku", "/lines/5/sku"]


def test_an_order_has_one_currency() -> None:
    with pytest.raises(Invalid) as refused:
        priced([Wanted("mug", 1, 0), Wanted("cap", 1, 1)], CATALOGUE)
    assert refused.value.code == "currency-mismatch"
    assert refused.value.errors[0].pointer == "/lines/1/sku"


def test_the_total_has_a_bound() -> None:
    most = priced([Wanted("ship", 1_000, 0)], CATALOGUE)
    assert total_of(most) == Money(10**12, "EUR")
    with pytest.raises(Invalid) as refused:
        total_of(priced([Wanted("ship", 1_000, 0), Wanted("tea", 1, 1)], CATALOGUE))
    assert refused.value.code == "total-too-large"


@given(WANTED)
def test_merging_neither_adds_nor_loses_anything(wanted: list[Wanted]) -> None:
    lines = priced(merged(wanted), CATALOGUE)
    assert len({line.sku for line in lines}) == len(lines)
    expected = sum(CATALOGUE[want.sku].price.amount_minor * want.quantity for want in wanted)
    assert total_of(lines).amount_minor == expected == sum(line.total.amount_minor for line in lines)
