"""I3: idempotency keys."""

# ruff: noqa: S608 - only the constant below is formatted into statements

from __future__ import annotations

from tradewind.audit.books import Books
from tradewind.audit.invariants import Violation

# A key row is committed with its answer or not at all, so one without a status is a breach in itself.
_UNANSWERED = "SELECT key FROM idempotency_key WHERE status IS NULL"

# What an answer names is in its body: an order's, payment's or refund's `id`, a product's `sku`. Where the id comes first, as
# our encoder writes it, it is cut out; parsing a million bodies as JSON would take most of the audit's time. OFFSET 0 keeps
# the planner from putting the reading of the body wherever what it names is mentioned.
_ID_FIRST = """substring(body FOR 7) = '{"id":"'::bytea AND substring(body FROM 44 FOR 1) = '"'::bytea"""
_JSON = "convert_from(body, 'UTF8')::json"
_NAMED = f"""
    SELECT key, coalesce(id, sku, 'nothing') AS named FROM (
        SELECT key,
            CASE WHEN {_ID_FIRST} THEN encode(substring(body FROM 8 FOR 36), 'escape') ELSE {_JSON} ->> 'id' END AS id,
            CASE WHEN NOT ({_ID_FIRST}) THEN {_JSON} ->> 'sku' END AS sku
        FROM idempotency_key WHERE status BETWEEN 200 AND 299 AND body <> '' OFFSET 0
    ) names
"""
_LOST = {
    "order": f"""
        {_NAMED} WHERE NOT EXISTS (SELECT FROM orders WHERE orders.id::text = names.id)
            AND NOT EXISTS (SELECT FROM product WHERE product.sku = names.sku)
    """,
    "payment": f"""
        {_NAMED} WHERE NOT EXISTS (SELECT FROM refund WHERE refund.id::text = names.id)
            AND NOT EXISTS (SELECT FROM payment WHERE payment.id::text = names.id)
    """,
}


async def successes_have_their_resource(books: Books) -> list[Violation]:
    """What a stored success named is there."""
    found = [
        _breach(room, row["key"], "it was committed without an answer")
        for room in books.rooms
        for row in await books[room].rows(_UNANSWERED)
    ]
    found += [
        _breach(room, row["key"], f"its answer names {row['named']}, which is not there")
        for room, query in _LOST.items()
        for row in await books[room].rows(query)
    ]
    return found


def _breach(room: str, key: str, detail: str) -> Violation:
    return Violation(
        "I3",
        f"{room} key {key}",
        detail,
        f"its client was told of a success: {room}_service.idempotency_key has the answer; restore what it names",
    )
