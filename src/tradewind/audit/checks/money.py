"""I11, the money: what an order says, and what its payment says."""

from __future__ import annotations

from tradewind.audit.books import PAYMENT, Books
from tradewind.audit.compare import Difference, Side, differences
from tradewind.audit.invariants import Violation
from tradewind.audit.motion import in_motion
from tradewind.chassis.postgres import Record

# What the payment of an order has to hold, and has to have given back; orders that ask for neither are left out.
_ORDERS = """
    SELECT payment_id AS key, held || ' held, ' || refunded_minor || ' refunded, ' || currency AS value,
        id::text AS order_id
    FROM (
        SELECT *, CASE WHEN status IN ('confirmed', 'shipped', 'delivered') THEN total_minor - refunded_minor ELSE 0 END
            AS held
        FROM orders
    ) o WHERE held <> 0 OR refunded_minor <> 0
"""
_PAYMENTS = """
    SELECT id AS key, held || ' held, ' || refunded_minor || ' refunded, ' || currency AS value,
        order_id::text AS order_id, held, refunding_minor
    FROM (SELECT *, captured_minor - refunded_minor AS held FROM payment) p WHERE held <> 0 OR refunded_minor <> 0
"""
_STATUSES = "SELECT id::text, status, payment_id::text FROM orders WHERE id = ANY($1::uuid[])"

# What is granted is in `refund`, and the payment counts it; a refund that failed was granted in vain.
_REFUNDS = """
    SELECT coalesce(p.id, r.payment_id)::text AS id, coalesce(p.refunded_minor, 0) AS refunded,
        coalesce(p.refunding_minor, 0) AS refunding, coalesce(r.succeeded, 0) AS succeeded, coalesce(r.pending, 0) AS pending
    FROM (
        SELECT id, refunded_minor, refunding_minor FROM payment WHERE refunded_minor <> 0 OR refunding_minor <> 0
    ) p
    FULL JOIN (
        SELECT payment_id, sum(amount_minor) FILTER (WHERE status = 'succeeded') AS succeeded,
            sum(amount_minor) FILTER (WHERE status = 'pending') AS pending
        FROM refund WHERE status <> 'failed' GROUP BY payment_id
    ) r ON r.payment_id = p.id
    WHERE coalesce(p.refunded_minor, 0) <> coalesce(r.succeeded, 0)
        OR coalesce(p.refunding_minor, 0) <> coalesce(r.pending, 0)
"""


async def orders_hold_their_money(books: Books) -> list[Violation]:
    """Captured less refunded is the total less what was granted back; a cancelled order holds nothing."""
    different = await differences(Side(books["order"], _ORDERS), Side(books[PAYMENT], _PAYMENTS))
    if not different:
        return []
    moving = await in_motion(books, ("order", PAYMENT), (PAYMENT, "order"))
    orders = await _orders(books, different)
    found: list[Violation] = []
    for difference in different:
        order, payment = difference.one, difference.other
        order_id = str(difference.either["order_id"])
        if order_id in moving or _is_on_its_way_back(orders.get(order_id), payment):
            continue
        status = orders[order_id]["status"] if order_id in orders else "there is no such order"
        detail = f"{status}: it asks for {_said(order)}, its payment has {_said(payment)}"
        found.append(_breach(order_id, detail))
    return found


async def refunds_are_granted(books: Books) -> list[Violation]:
    """What a payment gave back, and is giving back, are its refunds."""
    return [
        Violation(
            "I11",
            f"payment {row['id']}",
            f"{row['refunded']} refunded and {row['refunding']} under way,"
            f" but its refunds make {row['succeeded']} and {row['pending']}",
            "payment_service.refund has what was granted, the ledger what went back; the ledger is the truth",
        )
        for row in await books[PAYMENT].rows(_REFUNDS)
    ]


async def _orders(books: Books, different: list[Difference]) -> dict[str, Record]:
    ids = [difference.either["order_id"] for difference in different]
    return {row["id"]: row for row in await books["order"].rows(_STATUSES, ids)}


def _is_on_its_way_back(order: Record | None, payment: Record | None) -> bool:
    """Whether an order is cancelled and all that its payment still holds is being refunded; I9 sees that it gets there.

    A payment that the order does not know, and that holds nothing, is no matter of money; I2 names it.
    """
    if payment is None:
        return False
    if order is None or order["payment_id"] != str(payment["key"]):
        return bool(payment["held"] == 0)
    return bool(order["status"] == "cancelled" and 0 < payment["held"] == payment["refunding_minor"])


def _said(row: Record | None) -> str:
    return "nothing" if row is None else str(row["value"])


def _breach(order_id: str, detail: str) -> Violation:
    return Violation(
        "I11",
        f"order {order_id}",
        detail,
        f"GET /v1/orders/{order_id}/timeline and GET /v1/payments?order_id={order_id}; refund what it should not hold",
    )
