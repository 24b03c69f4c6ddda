"""I3: idempotency keys."""

from __future__ import annotations

from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books

# A key row is committed with its answer or not at all, so one without a status is a breach in itself. What an answer
# names is in its body: an order's or refund's `id`, a product's `sku`.
_LOST = {
    "order": """
        SELECT subject, key, coalesce(body ->> 'id', body ->> 'sku', 'no answer') AS named FROM (
            SELECT subject, key, status, convert_from(body, 'UTF8')::jsonb AS body FROM idempotency_key
            WHERE status IS NULL OR status < 300
        ) k
        WHERE status IS NULL
           OR (body ? 'id' AND NOT EXISTS (SELECT FROM orders WHERE id = (body ->> 'id')::uuid))
           OR (NOT body ? 'id' AND NOT EXISTS (SELECT FROM product WHERE sku = body ->> 'sku'))
    """,
    "payment": """
        SELECT subject, key, coalesce(body ->> 'id', 'no answer') AS named FROM (
            SELECT subject, key, status, convert_from(body, 'UTF8')::jsonb AS body FROM idempotency_key
            WHERE status IS NULL OR status < 300
        ) k
        WHERE status IS NULL
           OR NOT EXISTS (SELECT FROM refund WHERE id = (body ->> 'id')::uuid
                          UNION ALL SELECT FROM payment WHERE id = (body ->> 'id')::uuid)
    """,
}


async def successes_have_their_resource(books: Books) -> list[Violation]:
    """What a stored success named is there."""
    return [
        Violation("I3", f"{room} key {row['key']}", f"its answer names {row['named']}, which is not there")
        for room, query in _LOST.items()
        for row in await books[room].rows(query)
    ]
