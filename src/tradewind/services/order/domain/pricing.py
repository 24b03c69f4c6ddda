"""From what somebody wants to what it costs, by the catalogue's prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tradewind.chassis.errors import FieldError, Invalid
from tradewind.contracts.money import MAX_AMOUNT_MINOR, Money
from tradewind.contracts.order import OrderLine

MAX_LINES = 100
MAX_QUANTITY = 1_000
MAX_UNIT_PRICE_MINOR = 10**9
MAX_TOTAL_MINOR = MAX_AMOUNT_MINOR


class Wanted(msgspec.Struct, frozen=True):
    """So many pieces of a SKU. `line` is its place in the request, for whoever has to be told what is wrong with it."""

    sku: str
    quantity: int
    line: int


class Article(msgspec.Struct, frozen=True):
    """What the catalogue says of a SKU."""

    sku: str
    name: str
    price: Money


def merged(wanted: Sequence[Wanted]) -> list[Wanted]:
    """One entry per SKU, in the order of their first mention; lines with the same SKU add up.

    Raises:
        Invalid: the sum for a SKU is more than 1,000 pieces.
    """
    found: dict[str, Wanted] = {}
    for want in wanted:
        first = found.get(want.sku)
        quantity = want.quantity + (first.quantity if first else 0)
        if quantity > MAX_QUANTITY:
            detail = f"At most {MAX_QUANTITY} pieces of {want.sku} fit into an order."
            raise Invalid("invalid", detail, errors=[FieldError(f"/lines/{want.line}/quantity", "range", detail)])
        found[want.sku] = Wanted(want.sku, quantity, first.line if first else want.line)
    return list(found.values())


def priced(wanted: Sequence[Wanted], catalogue: Mapping[str, Article]) -> list[OrderLine]:
    """The lines of an order.

    Raises:
        Invalid: `unknown-sku` with every one that is not in the catalogue, or `currency-mismatch`.
    """
    unknown = [want for want in wanted if want.sku not in catalogue]
    if unknown:
        raise Invalid(
            "unknown-sku",
            f"Not in the catalogue: {', '.join(want.sku for want in unknown)}.",
            errors=[
                FieldError(f"/lines/{want.line}/sku", "unknown-sku", f"There is no {want.sku}.") for want in unknown
            ],
        )
    lines = []
    currency = catalogue[wanted[0].sku].price.currency
    for want in wanted:
        article = catalogue[want.sku]
        if article.price.currency != currency:
            detail = f"{article.sku} is priced in {article.price.currency}, the lines before it in {currency}."
            raise Invalid(
                "currency-mismatch", detail, errors=[FieldError(f"/lines/{want.line}/sku", "currency-mismatch", detail)]
            )
        lines.append(
            OrderLine(
                sku=article.sku,
                name=article.name,
                quantity=want.quantity,
                unit_price=article.price,
                total=article.price * want.quantity,
            )
        )
    return lines


def total_of(lines: Sequence[OrderLine]) -> Money:
    """What all lines cost together.

    Raises:
        Invalid: `total-too-large`.
    """
    total = lines[0].total
    for line in lines[1:]:
        total += line.total
    if total.amount_minor > MAX_TOTAL_MINOR:
        raise Invalid("total-too-large", f"An order may cost {MAX_TOTAL_MINOR} minor units at most.")
    return total
