"""I4, the effects: what a room has told is what the other has made of it.

An inbox says that an event was taken; these say that it did what it should. Compared is where two rooms hold the same fact,
so that one lost effect shows for good. Events that are dead letters are I10's, and those on their way nobody's yet.
"""

# ruff: noqa: S608 - only the constant below is formatted into statements

from __future__ import annotations

from typing import NamedTuple

from tradewind.audit.books import PAYMENT, Books
from tradewind.audit.compare import Difference, Side, differences
from tradewind.audit.invariants import Violation
from tradewind.audit.motion import Way, in_motion


class Fact(NamedTuple):
    """A fact that two rooms hold: of each a query with `key`, `value`, and the `subject` its events are about."""

    what: str
    teller: str
    told: str
    hearer: str
    heard: str
    ways: tuple[Way, ...]


# Only where money is settled: between asking and being asked again the two words may differ, and nobody is told.
_SETTLED = "('failed', 'cancelled', 'captured', 'partially_refunded', 'refunded')"
FACTS = (
    Fact(
        "payment",
        "order",
        f"""
        SELECT payment_id AS key, id::text AS subject,
            CASE WHEN payment_status IN {_SETTLED} THEN payment_status ELSE 'open' END AS value
        FROM orders
        """,
        PAYMENT,
        f"""
        SELECT id AS key, order_id::text AS subject,
            CASE WHEN status IN {_SETTLED} THEN status ELSE 'open' END AS value
        FROM payment
        """,
        (("order", PAYMENT), (PAYMENT, "order")),
    ),
    Fact(
        "order",
        "order",
        """
        SELECT id AS key, id::text AS subject,
            CASE status WHEN 'pending' THEN 'placed' WHEN 'cancelled' THEN status ELSE 'confirmed' END AS value
        FROM orders
        """,
        "analytics",
        """
        SELECT order_id AS key, order_id::text AS subject, CASE
            WHEN cancelled_at IS NOT NULL THEN 'cancelled' WHEN confirmed_at IS NOT NULL THEN 'confirmed' ELSE 'placed'
            END AS value
        FROM order_fact
        """,
        (("order", "analytics"),),
    ),
    Fact(
        "account",
        "auth",
        "SELECT id AS key, id::text AS subject, 'version ' || version AS value FROM account",
        "user",
        "SELECT id AS key, id::text AS subject, 'version ' || account_version AS value FROM profile",
        (("auth", "user"),),
    ),
)
_DEAD = "SELECT DISTINCT key FROM dead_letter"


async def facts_agree(books: Books) -> list[Violation]:
    """What was told of payments, orders and accounts is what the rooms that heard it hold."""
    found: list[Violation] = []
    for fact in FACTS:
        different = await differences(Side(books[fact.teller], fact.told), Side(books[fact.hearer], fact.heard))
        if different:
            left_out = await _left_out(books, fact)
            found += [_breach(fact, each) for each in different if each.one and left_out.isdisjoint(_names(each))]
    return found


async def _left_out(books: Books, fact: Fact) -> frozenset[str]:
    """Subjects and keys of events that are on their way, or are dead letters of a room that should have heard them."""
    dead = {row["key"] for _, hearer in fact.ways for row in await books[hearer].rows(_DEAD)}
    return await in_motion(books, *fact.ways) | dead


def _names(difference: Difference) -> tuple[str, str]:
    return difference.key, difference.either["subject"]


def _breach(fact: Fact, difference: Difference) -> Violation:
    told, heard = difference.one, difference.other
    assert told is not None
    having = f"has it as {heard['value']}" if heard else "does not have it"
    return Violation(
        "I4",
        f"{fact.what} {difference.key}",
        f"{fact.teller}-service has it as {told['value']}, {fact.hearer}-service {having}",
        "an event was taken, and its effect is not there: look for it in the logs of both, and give it by hand",
    )
