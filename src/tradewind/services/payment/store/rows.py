"""From rows to the domain's words. Ids are text here and uuid in the database."""

from __future__ import annotations

from tradewind.chassis.postgres import Record
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import AttemptStatus, Step
from tradewind.services.payment.domain.payment import Payment, Status
from tradewind.services.payment.domain.refund import Refund, RefundStatus
from tradewind.services.payment.domain.settlement import Attempt

PAYMENT = """
    p.id::text AS payment_id, p.order_id::text, p.customer_id::text, p.amount_minor, p.currency, p.payment_method,
    p.status AS payment_status, p.code AS payment_code, p.action_url, p.captured_minor, p.refunding_minor, p.refunded_minor, p.order_cancelled,
    p.version, p.revision
"""
ATTEMPT = """
    a.id::text AS attempt_id, a.payment_id::text AS attempt_of, a.provider, a.capture, a.status AS attempt_status, a.step,
    a.charge_id, a.code AS attempt_code, a.looks,
    coalesce(extract(epoch FROM now() - a.settled_at), 0)::float8 AS settled_age_s, a.traceparent
"""
REFUND = """
    r.id::text AS refund_id, r.payment_id::text AS refund_of, r.amount_minor AS refund_minor, r.reason, r.requested_by, r.by_itself,
    r.status AS refund_status, r.code AS refund_code, r.provider_id, r.round, r.looks, r.traceparent
"""


def payment(row: Record) -> Payment:
    """A payment out of the columns `PAYMENT`."""
    return Payment(
        id=row["payment_id"],
        order_id=row["order_id"],
        customer_id=row["customer_id"],
        amount=Money(row["amount_minor"], row["currency"]),
        payment_method=row["payment_method"],
        status=Status(row["payment_status"]),
        code=row["payment_code"],
        action_url=row["action_url"],
        captured_minor=row["captured_minor"],
        refunding_minor=row["refunding_minor"],
        refunded_minor=row["refunded_minor"],
        order_cancelled=row["order_cancelled"],
        version=row["version"],
        revision=row["revision"],
    )


def attempt(row: Record) -> Attempt:
    """An attempt out of the columns `ATTEMPT`; when it is due is for the database to know."""
    return Attempt(
        id=row["attempt_id"],
        payment_id=row["attempt_of"],
        provider=row["provider"],
        capture=row["capture"],
        status=AttemptStatus(row["attempt_status"]),
        step=Step(row["step"]),
        charge_id=row["charge_id"],
        code=row["attempt_code"],
        looks=row["looks"],
        settled_age_s=row["settled_age_s"],
    )


def refund(row: Record) -> Refund:
    """A refund out of the columns `REFUND`."""
    return Refund(
        id=row["refund_id"],
        payment_id=row["refund_of"],
        amount_minor=row["refund_minor"],
        reason=row["reason"],
        requested_by=row["requested_by"],
        by_itself=row["by_itself"],
        status=RefundStatus(row["refund_status"]),
        code=row["refund_code"],
        provider_id=row["provider_id"],
        round=row["round"],
        looks=row["looks"],
    )
