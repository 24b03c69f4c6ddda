"""The journal against the databases and the provider: what was acknowledged is there, as it was told, exactly once.

What was not acknowledged may be there or not; where it is, it belongs to a key that was asked for.
"""

from __future__ import annotations

import asyncio
import email
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tradewind.audit.look import Look
from tradewind.audit.sources import Charge
from tradewind.chaos.journal import Entry

MOST = 20
"""Disagreements of one kind that are told; the rest is counted."""
_ORDERS = """
    SELECT id::text, customer_id::text, status, lines::text, total_minor, refunded_minor, currency, payment_id::text
    FROM orders
"""
_STORED = "SELECT subject, key, status, body FROM idempotency_key WHERE status BETWEEN 200 AND 299"
_REFUNDS = """
    SELECT r.id::text, r.amount_minor, r.status, p.order_id::text FROM refund r JOIN payment p ON p.id = r.payment_id
"""
_ACCOUNTS = "SELECT id::text, email FROM account"
_PROFILES = "SELECT id::text FROM profile"
_SHIPMENTS = "SELECT order_id::text, detail->>'tracking' AS tracking FROM order_timeline WHERE event = 'shipped'"
_MAILS = "SELECT message_id, sent_at FROM mail"
_SHIPPED = ("shipped", "delivered")
_PAID = ("confirmed", *_SHIPPED)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the databases, the provider and the mailbox hold. Rows are mappings, named as the queries above name them."""

    orders: Mapping[str, Mapping[str, Any]]
    refunds: Mapping[str, Mapping[str, Any]]
    stored: Sequence[tuple[str, str, bytes]]
    """Subject, key and body of every success that is kept for repetition."""
    shipments: Mapping[str, str]
    accounts: Mapping[str, str]
    profiles: frozenset[str]
    mails: Mapping[str, Any]
    """Message-IDs, and when they were sent."""
    letters: Mapping[str, int]
    """Message-IDs, and how many such letters arrived."""
    charges: Sequence[Charge]


async def look_up(looks: Mapping[str, Look], charges: Sequence[Charge], mail: Path) -> Found:
    """Read everything.

    Raises:
        Unavailable: a database is away.
    """
    stored = [*await looks["order"].rows(_STORED), *await looks["payment"].rows(_STORED)]
    return Found(
        orders={row["id"]: dict(row) for row in await looks["order"].rows(_ORDERS)},
        refunds={row["id"]: dict(row) for row in await looks["payment"].rows(_REFUNDS)},
        stored=[(row["subject"], row["key"], row["body"]) for row in stored],
        shipments={row["order_id"]: row["tracking"] for row in await looks["order"].rows(_SHIPMENTS)},
        accounts={row["id"]: row["email"] for row in await looks["auth"].rows(_ACCOUNTS)},
        profiles=frozenset(row["id"] for row in await looks["user"].rows(_PROFILES)),
        mails={row["message_id"]: row["sent_at"] for row in await looks["notification"].rows(_MAILS)},
        letters=await asyncio.to_thread(_letters, mail),
        charges=charges,
    )


def disagreements(entries: Sequence[Entry], found: Found) -> list[str]:
    """A sentence for each; none when everything is as the customers were told."""
    told = [entry for entry in entries if entry.acknowledged]
    return [
        *_few("orders", _orders(told, found.orders)),
        *_few("keys", _once(entries, found.orders, found.stored)),
        *_few("moves", _moves(told, found.orders, found.shipments)),
        *_few("refunds", _refunds(told, found.refunds)),
        *_few("customers", _customers(told, found.accounts, found.profiles)),
        *_few("the provider", _provider(found.orders.values(), found.charges)),
        *_few("mail", _mail(found.mails, found.letters)),
    ]


def _orders(told: Iterable[Entry], orders: Mapping[str, Any]) -> Iterable[str]:
    for entry in told:
        if entry.act != "order":
            continue
        row = orders.get(entry.answer["id"])
        if row is None:
            yield f"order {entry.answer['id']} was acknowledged (key {entry.key}) and is not there"
            continue
        kept = Counter({line["sku"]: line["quantity"] for line in msgspec.json.decode(row["lines"])})
        wanted: Counter[str] = Counter()
        for line in entry.body["lines"]:
            wanted[line["sku"]] += line["quantity"]
        total = {"amount_minor": row["total_minor"], "currency": row["currency"]}
        if (kept, total, row["customer_id"]) != (wanted, entry.answer["total"], entry.subject):
            yield f"order {row['id']} is not as it was acknowledged: {dict(kept)}, {total}, of {row['customer_id']}"


def _once(
    entries: Iterable[Entry], orders: Mapping[str, Any], stored: Iterable[tuple[str, str, bytes]]
) -> Iterable[str]:
    asked = {(entry.subject, entry.key): entry for entry in entries if entry.act == "order"}
    keys_of: dict[str, list[str]] = defaultdict(list)
    for subject, key, body in stored:
        answer = msgspec.json.decode(body) if body else None
        if not isinstance(answer, dict) or "lines" not in answer or (subject, key) not in asked:
            continue
        keys_of[answer["id"]].append(key)
        entry = asked[subject, key]
        if entry.acknowledged and entry.answer["id"] != answer["id"]:
            yield f"key {key} was answered with order {entry.answer['id']}, and is stored with {answer['id']}"
    customers = {entry.subject for entry in asked.values()}
    for order_id, row in orders.items():
        if row["customer_id"] in customers and len(keys_of[order_id]) != 1:
            yield f"order {order_id} has {len(keys_of[order_id])} keys: {', '.join(keys_of[order_id]) or 'nobody asked for it'}"


def _moves(told: Iterable[Entry], orders: Mapping[str, Any], shipments: Mapping[str, str]) -> Iterable[str]:
    for entry in told:
        row = orders.get(entry.order_id)
        status = row["status"] if row is not None else "missing"
        match entry.act:
            case "cancel" if status != "cancelled":
                yield f"order {entry.order_id} is {status}, and its cancellation was acknowledged (key {entry.key})"
            case "ship" if status not in _SHIPPED or shipments.get(entry.order_id) != entry.body["tracking"]:
                yield f"order {entry.order_id} is {status} with {shipments.get(entry.order_id)}; {entry.body} was acknowledged"
            case "deliver" if status != "delivered":
                yield f"order {entry.order_id} is {status}, and its delivery was acknowledged (key {entry.key})"


def _refunds(told: Iterable[Entry], refunds: Mapping[str, Any]) -> Iterable[str]:
    for entry in told:
        if entry.act != "refund":
            continue
        row = refunds.get(entry.answer["id"])
        if row is None:
            yield f"refund {entry.answer['id']} of order {entry.order_id} was acknowledged and is not there"
        elif (row["amount_minor"], row["order_id"]) != (entry.answer["amount"]["amount_minor"], entry.order_id):
            yield f"refund {row['id']} is of {row['amount_minor']} for {row['order_id']}; told was {entry.answer['amount']}"
        elif row["status"] == "pending":
            yield f"refund {row['id']} is still pending"


def _customers(told: Iterable[Entry], accounts: Mapping[str, str], profiles: frozenset[str]) -> Iterable[str]:
    for entry in told:
        if entry.act != "register":
            continue
        user = entry.answer["id"]
        if accounts.get(user) != entry.key:
            yield f"account {user} of {entry.key} was acknowledged; there is {accounts.get(user)}"
        elif user not in profiles:
            yield f"account {user} has no profile"


def _provider(orders: Iterable[Any], charges: Iterable[Charge]) -> Iterable[str]:
    taken: dict[str, list[Charge]] = defaultdict(list)
    for charge in charges:
        taken[charge.order_id].append(charge)
    for row in orders:
        theirs = taken.pop(row["id"], [])
        captured = sum(charge.captured_minor for charge in theirs)
        refunded = sum(charge.refunded_minor for charge in theirs)
        if row["status"] in _PAID and (len(theirs), captured, refunded) != (
            1,
            row["total_minor"],
            row["refunded_minor"],
        ):
            yield (
                f"order {row['id']} is {row['status']}, {row['total_minor']} less {row['refunded_minor']} refunded;"
                f" the provider took {captured} in {len(theirs)} charges and gave {refunded} back"
            )
        if row["status"] == "cancelled" and captured != refunded:
            yield f"order {row['id']} is cancelled; the provider took {captured} and gave {refunded} back"
    for order_id, theirs in taken.items():
        if sum(charge.captured_minor - charge.refunded_minor for charge in theirs):
            yield f"the provider holds money for an order that is not there: {order_id}"


def _mail(mails: Mapping[str, Any], letters: Mapping[str, int]) -> Iterable[str]:
    for message_id, sent_at in mails.items():
        if letters.get(message_id, 0) != 1 or sent_at is None:
            yield f"mail {message_id} arrived {letters.get(message_id, 0)} times; sent at {sent_at}"
    for message_id in letters.keys() - mails.keys():
        yield f"mail {message_id} arrived, and no notification has it"


def _letters(folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in folder.glob("*.eml"):
        found[email.message_from_bytes(path.read_bytes()).get("Message-ID", "").strip()] += 1
    return found


def _few(kind: str, sentences: Iterable[str]) -> list[str]:
    every = list(sentences)
    more = [f"{kind}: and {len(every) - MOST} more"] if len(every) > MOST else []
    return [*(f"{kind}: {sentence}" for sentence in every[:MOST]), *more]
