"""Goods never appear or vanish, whatever a shop goes through."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tradewind.services.order.domain.stock import SHIFTS, Movement, Shift, shifts

SKUS = st.sampled_from(["a", "b", "c"])
MOVES = st.lists(st.builds(Movement, SKUS, st.sampled_from(sorted(SHIFTS)), st.integers(1, 1_000)), max_size=50)


def plus(one: Shift, other: Shift) -> Shift:
    return Shift(*(a + b for a, b in zip(one, other, strict=True)))


@given(MOVES)
def test_only_goods_that_come_or_go_change_how_many_there_are(moves: list[Movement]) -> None:
    came: Counter[str] = Counter()
    for move in moves:
        came[move.sku] += move.quantity if move.kind in {"initial", "delta"} else 0
    assert {sku: sum(shift) for sku, shift in shifts(moves).items()} == {
        sku: came[sku] for sku in {move.sku for move in moves}
    }


@given(MOVES, MOVES)
def test_moving_together_is_moving_one_after_the_other(first: list[Movement], second: list[Movement]) -> None:
    none = Shift(0, 0, 0)
    together, one, other = shifts(first + second), shifts(first), shifts(second)
    assert together == {sku: plus(one.get(sku, none), other.get(sku, none)) for sku in together}


@given(MOVES)
def test_skus_come_in_the_order_they_are_locked_in(moves: list[Movement]) -> None:
    assert list(shifts(moves)) == sorted(shifts(moves))


@given(SKUS, st.integers(1, 1_000))
def test_what_undoes_a_move_leaves_nothing_of_it(sku: str, quantity: int) -> None:
    for there_and_back in (("reserve", "release"), ("reserve", "sell", "return")):
        assert shifts(Movement(sku, kind, quantity) for kind in there_and_back) == {sku: Shift(0, 0, 0)}


class Shop(RuleBasedStateMachine):
    """One SKU, and orders that reserve only what is available: no heap ever falls below zero."""

    reserved: Bundle[int] = Bundle("reserved")
    sold: Bundle[int] = Bundle("sold")

    def __init__(self) -> None:
        super().__init__()
        self.heaps = Shift(10, 0, 0)
        self.came = 10

    def move(self, kind: str, quantity: int) -> None:
        self.heaps = plus(self.heaps, shifts([Movement("a", kind, quantity)])["a"])

    @rule(delta=st.integers(-20, 20))
    def restock(self, delta: int) -> None:
        if delta and self.heaps.available + delta >= 0:
            self.move("delta", delta)
            self.came += delta

    @rule(target=reserved, quantity=st.integers(1, 5))
    def order(self, quantity: int) -> object:
        if quantity > self.heaps.available:
            return multiple()
        self.move("reserve", quantity)
        return quantity

    @rule(target=sold, quantity=consumes(reserved))
    def pay(self, quantity: int) -> int:
        self.move("sell", quantity)
        return quantity

    @rule(quantity=consumes(reserved))
    def expire(self, quantity: int) -> None:
        self.move("release", quantity)

    @rule(quantity=consumes(sold))
    def cancel(self, quantity: int) -> None:
        self.move("return", quantity)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert min(self.heaps) >= 0
        assert sum(self.heaps) == self.came


TestShop = Shop.TestCase
