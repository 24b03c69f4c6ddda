"""I2, the provider's half: its list of charges against our attempts.

A charge is told by the attempt it was asked for, which is recorded before the provider hears of it: so every charge in the
list has its attempt in the snapshot that was taken later. What we settled before the list was begun is in the list. In
between, what is unknown, due, or settled since may differ; that is the next audit's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from uuid import UUID

from msgspec.structs import replace

from tradewind.audit.books import PAYMENT, Books, Listing
from tradewind.audit.invariants import Violation
from tradewind.audit.look import Look
from tradewind.audit.sources import Charge
from tradewind.chassis.ids import is_id
from tradewind.chassis.postgres import Record
from tradewind.services.payment.domain.unwanted import id_of_unwanted

CHUNK = 10_000
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)

# Both sides by ranges of attempt ids, so that each range is one join, and what only one side has shows as well. What was
# settled, refunded or undone after the list was begun ($9) it may show or not.
_DISAGREE = """
    SELECT theirs.id AS charge_id, theirs.captured AS their_captured, theirs.refunded AS their_refunded,
        theirs.currency AS their_currency, theirs.order_id AS their_order, ours.*
    FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::text[])
        AS theirs (id, attempt, order_id, captured, refunded, currency)
    FULL JOIN (
        SELECT a.id AS attempt_id, a.payment_id, p.order_id, a.status, a.due_at, a.settled_at,
            p.captured_minor, p.refunded_minor, p.refunding_minor, p.currency
        FROM attempt a JOIN payment p ON p.id = a.payment_id
        WHERE a.id > $7 AND a.id <= $8 AND (a.status = 'succeeded' AND a.provider = $10 OR a.id IN (SELECT unnest($2::uuid[])))
    ) ours ON ours.attempt_id = theirs.attempt
    WHERE CASE
        WHEN ours.attempt_id IS NULL THEN true
        WHEN ours.status IN ('processing', 'authorized') OR ours.status = 'cancelled' AND ours.due_at IS NOT NULL THEN false
        WHEN ours.status <> 'succeeded' THEN theirs.captured <> theirs.refunded AND NOT EXISTS (
            SELECT FROM ledger_transaction t WHERE t.cause_id = ours.attempt_id AND t.booked_at >= $9
        )
        WHEN theirs.id IS NULL THEN coalesce(ours.settled_at < $9, true)
        WHEN (theirs.captured, theirs.currency, theirs.order_id)
            <> (ours.captured_minor, ours.currency, ours.order_id::text) THEN true
        WHEN theirs.refunded = ours.refunded_minor THEN false
        ELSE theirs.refunded > ours.refunded_minor + ours.refunding_minor
            OR theirs.refunded < ours.refunded_minor - (
                SELECT coalesce(sum(r.amount_minor), 0) FROM refund r
                WHERE r.payment_id = ours.payment_id AND r.status = 'succeeded' AND r.settled_at >= $9
            )
        END
"""

_ELSEWHERE = """
    SELECT provider, count(*) AS charges FROM attempt WHERE status = 'succeeded' AND provider <> $1 GROUP BY provider ORDER BY provider
"""
# What was undone under another id than an attempt's is a charge that nobody wanted. There are few, mostly none.
_UNDONE = """
    SELECT t.cause_id FROM ledger_transaction t
    WHERE t.cause = 'mismatch_undone' AND NOT EXISTS (SELECT FROM attempt a WHERE a.id = t.cause_id)
"""


async def captured_once_at_the_provider(books: Books) -> list[Violation]:
    """The provider took money once for an order at most, took what we think it took, and nothing that we do not know."""
    if books.listing is None:
        return []
    listing = await _without_undone(books[PAYMENT], books.listing)
    found = {violation.subject: violation for violation in _twice(listing.charges)}
    for row in await _disagreements(books[PAYMENT], listing):
        order_id = row["order_id"] or row["their_order"]
        found.setdefault(f"order {order_id}", _breach(str(order_id), _detail(row)))
    for charge in listing.charges:
        if not is_id(charge.attempt_id):
            detail = f"the provider's charge {charge.id} of {_amount(charge)} is none that we asked for"
            found.setdefault(f"order {charge.order_id}", _breach(charge.order_id, detail))
    return list(found.values())


async def charged_elsewhere(books: Books) -> list[str]:
    """Charges at another provider than the one whose list was read, a sentence each: nothing is said of those."""
    if books.listing is None:
        return []
    return [
        f"{row['charges']} charges at {row['provider']}: the list that was read is that of {books.listing.provider}"
        f" (PAYMENT_PROVIDER and that provider's key say whose is read)"
        for row in await books[PAYMENT].rows(_ELSEWHERE, books.listing.provider)
    ]


async def _without_undone(look: Look, listing: Listing) -> Listing:
    """The list without second charges of an attempt that our books say went back, and of which the provider has nothing left."""
    undone = {str(row["cause_id"]) for row in await look.rows(_UNDONE)}
    if not undone:
        return listing

    def gone(charge: Charge) -> bool:
        return charge.captured_minor == charge.refunded_minor and id_of_unwanted(charge.id) in undone

    return replace(listing, charges=[charge for charge in listing.charges if not gone(charge)])


def _twice(charges: Sequence[Charge]) -> Iterator[Violation]:
    """Orders that the provider keeps money for twice, and attempts that it answered with two charges."""
    keeping = [charge for charge in charges if charge.captured_minor > charge.refunded_minor]
    asked = [charge for charge in charges if is_id(charge.attempt_id)]
    for same in (*_repeated(keeping, attrgetter("order_id")), *_repeated(asked, attrgetter("attempt_id"))):
        named = ", ".join(f"{charge.id} of {_amount(charge)}" for charge in same)
        yield _breach(same[0].order_id, f"the provider charged {len(same)} times: {named}")


def _repeated(charges: Sequence[Charge], key: Callable[[Charge], str]) -> Iterable[list[Charge]]:
    """Charges that share a key, together; lists are made for those alone, of a million."""
    seen: set[str] = set()
    twice = {key(charge) for charge in charges if key(charge) in seen or seen.add(key(charge))}  # type: ignore[func-returns-value]
    same: dict[str, list[Charge]] = defaultdict(list)
    for charge in charges:
        if key(charge) in twice:
            same[key(charge)].append(charge)
    return same.values()


async def _disagreements(look: Look, listing: Listing) -> list[Record]:
    """Rows of `_DISAGREE`, over all attempts."""
    # Of charges with one attempt, which `_twice` names, the last.
    of_one_attempt = groupby(
        sorted((charge for charge in listing.charges if is_id(charge.attempt_id)), key=attrgetter("attempt_id")),
        attrgetter("attempt_id"),
    )
    ordered = [list(same)[-1] for _, same in of_one_attempt]
    found: list[Record] = []
    after = _FIRST
    for start in range(0, max(len(ordered), 1), CHUNK):
        chunk = ordered[start : start + CHUNK]
        upto = UUID(chunk[-1].attempt_id) if start + CHUNK < len(ordered) else _LAST
        found += await look.rows(_DISAGREE, *_columns(chunk), after, upto, listing.since, listing.provider)
        after = upto
    return found


def _columns(charges: Sequence[Charge]) -> tuple[list[object], ...]:
    return (
        [charge.id for charge in charges],
        [charge.attempt_id for charge in charges],
        [charge.order_id for charge in charges],
        [charge.captured_minor for charge in charges],
        [charge.refunded_minor for charge in charges],
        [charge.currency for charge in charges],
    )


def _detail(row: Record) -> str:
    theirs = f"{row['their_captured']} {row['their_currency']}, {row['their_refunded']} of it back"
    if row["attempt_id"] is None:
        return f"the provider's charge {row['charge_id']} of {theirs}, is of an attempt we do not have"
    ours = f"{row['captured_minor']} {row['currency']}, {row['refunded_minor']} of it back"
    if row["charge_id"] is None:
        return f"we captured {ours}, and the provider has no such charge"
    if row["status"] != "succeeded":
        return f"the provider's charge {row['charge_id']} took {theirs}, but our attempt is {row['status']}"
    return f"we captured {ours}; the provider's charge {row['charge_id']} for {row['their_order']} took {theirs}"


def _breach(order_id: str, detail: str) -> Violation:
    return Violation(
        "I2",
        f"order {order_id}",
        detail,
        "GET /v1/payments/reconciliation; what the provider keeps beyond our books is refunded there, by hand",
    )


def _amount(charge: Charge) -> str:
    return f"{charge.captured_minor} {charge.currency}"
