"""Where the goods are. Each piece is available, reserved or sold, and every move between the three is journalled.

So `initial + deltas = available + reserved + sold` holds for every SKU, whatever happened in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["initial", "delta", "reserve", "release", "sell", "return"]


class Shift(NamedTuple):
    """By how many pieces each of the three heaps grows."""

    available: int
    reserved: int
    sold: int


SHIFTS: Mapping[Kind, Shift] = {
    # one piece of ...   available  reserved  sold
    "initial": Shift(           +1,        0,    0),
    "delta":   Shift(           +1,        0,    0),
    "reserve": Shift(           -1,       +1,    0),
    "release": Shift(           +1,       -1,    0),
    "sell":    Shift(            0,       -1,   +1),
    "return":  Shift(           +1,        0,   -1),
}  # fmt: skip


class Movement(msgspec.Struct, frozen=True):
    """One line of the journal. `quantity` is positive, except that a `delta` may take goods away."""

    sku: str
    kind: Kind
    quantity: int
    order_id: str | None = None


def shifts(movements: Iterable[Movement]) -> dict[str, Shift]:
    """What `movements` come to for each SKU; in the order of the SKUs, which is the order they are locked in."""
    sums: dict[str, Shift] = {}
    for move in movements:
        before, piece = sums.get(move.sku, Shift(0, 0, 0)), SHIFTS[move.kind]
        sums[move.sku] = Shift(
            before.available + piece.available * move.quantity,
            before.reserved + piece.reserved * move.quantity,
            before.sold + piece.sold * move.quantity,
        )
    return dict(sorted(sums.items()))
