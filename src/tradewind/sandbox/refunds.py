"""What the provider can do with refunds: at once, or pending for a while where the script says so."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from datetime import timedelta

import msgspec

from tradewind.chassis.errors import Conflict
from tradewind.chassis.logs import get_logger
from tradewind.sandbox import announcing, domain, script, store
from tradewind.sandbox.announcing import now, sandbox_id
from tradewind.sandbox.domain import Refund, RefundStatus
from tradewind.sandbox.parts import Parts, latency
from tradewind.sandbox.script import AnyRule
from tradewind.sandbox.store import Answer
from tradewind.sandbox.usecases import get_stored_charge, write_once
from tradewind.sandbox.wire import CreateRefund, error_body, refund_view

BATCH_MAX = 64
IDLE_S = 60.0
PAUSE_AFTER_ERROR_S = 1.0
_log = get_logger(__name__)


async def create_refund(parts: Parts, key: str, request: CreateRefund, rule: AnyRule | None = None) -> Answer:
    """Give money back, at most once per `key`. A refusal is remembered like a refund.

    Raises:
        NotFound: `charge_not_found`.
        Conflict: `idempotency_key_reused`.
    """
    await latency(parts)
    answer = await write_once(parts, key, ("refund", request), lambda db: _place_refund(parts, db, request, rule))
    parts.ending.set()
    return answer


async def end_pending(parts: Parts) -> None:
    """Let pending refunds succeed or fail when their time has come, until cancelled."""
    while True:
        parts.ending.clear()
        try:
            ended = await parts.database.write(lambda db: _end_some(parts, db))
            next_ms = await parts.database.read(store.find_next_ending_ms)
        except sqlite3.Error as exc:
            _log.error("pending refunds wait", error=str(exc))
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)
            continue
        if ended and parts.courier is not None:
            parts.courier.wake()
        pause_s = IDLE_S if next_ms is None else (next_ms - store.unix_ms(parts.clock.now())) / 1000
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(parts.ending.wait(), min(max(pause_s, 0.001), IDLE_S))


def _place_refund(parts: Parts, db: sqlite3.Connection, request: CreateRefund, rule: AnyRule | None) -> Answer:
    charge = get_stored_charge(db, request.charge_id)
    pending_minor = store.pending_minor(db, charge.id)
    amount_minor = request.amount_minor
    try:
        domain.check_refund(charge, amount_minor, pending_minor)
    except Conflict as refusal:
        return Answer(refusal.status, msgspec.json.encode(error_body(refusal)))
    if isinstance(rule, script.WrongAmount) and rule.where == "books":
        left_minor = charge.captured_minor - charge.refunded_minor - pending_minor
        amount_minor = min(max(1, amount_minor + rule.by_minor), left_minor)
    refund = Refund(
        id=sandbox_id("re"),
        charge_id=charge.id,
        reference=request.reference,
        amount_minor=amount_minor,
        currency=charge.currency,
        created_at=now(parts),
    )
    if isinstance(rule, script.Pending):
        refund = msgspec.structs.replace(
            refund,
            status=RefundStatus.PENDING,
            ends_as=RefundStatus(rule.then),
            ends_at=refund.created_at + timedelta(milliseconds=rule.wait_ms),
        )
    else:
        store.update_charge(db, domain.give_back(charge, amount_minor))
    store.insert_refund(db, refund)
    return Answer(201, msgspec.json.encode(_announced(parts, db, refund, charge.reference)))


def _end_some(parts: Parts, db: sqlite3.Connection) -> int:
    ending = store.list_ending_refunds(db, store.unix_ms(parts.clock.now()), BATCH_MAX)
    for refund in ending:
        charge = get_stored_charge(db, refund.charge_id)
        status = refund.ends_as or RefundStatus.SUCCEEDED
        if status is RefundStatus.SUCCEEDED:
            store.update_charge(db, domain.give_back(charge, refund.amount_minor))
        store.end_refund(db, refund.id, status)
        _announced(parts, db, msgspec.structs.replace(refund, status=status), charge.reference)
    return len(ending)


def _announced(parts: Parts, db: sqlite3.Connection, refund: Refund, reference: str) -> msgspec.Struct:
    view = refund_view(refund)
    announcing.announce(parts, db, f"refund.{refund.status}", view, reference)
    return view
