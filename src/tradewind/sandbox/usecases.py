"""What the provider can do with charges. A change is one job of the writer: load, decide, save, queue webhook, keep answer.

A rule of the script may twist what is done here (`rule`); what is told of it, and whether, is `staging`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sqlite3
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from tradewind.chassis.errors import Conflict, Invalid, NotFound
from tradewind.sandbox import announcing, domain, script, store
from tradewind.sandbox.announcing import now, sandbox_id
from tradewind.sandbox.conditions import ConditionsView, Control
from tradewind.sandbox.domain import Charge, Status
from tradewind.sandbox.methods import METHODS, WELL, Fault, Reply, Script
from tradewind.sandbox.methods import script as script_of
from tradewind.sandbox.parts import Parts, latency
from tradewind.sandbox.script import AnyRule
from tradewind.sandbox.store import Answer
from tradewind.sandbox.wire import (
    Balance,
    ChargeView,
    CreateCharge,
    CreateRefund,
    CurrencyBalance,
    Page,
    charge_view,
    decline_body,
    refund_view,
)

DOUBLE = "~2"
CHALLENGE_TOKEN_BYTES = 24


async def create_charge(parts: Parts, key: str, request: CreateCharge) -> tuple[Reply, Answer | None]:
    """Charge, at most once per `key`, and say how the client hears of it. No answer where the script stores nothing.

    Raises:
        Invalid: 400 `payment_method_unknown`.
        Conflict: `idempotency_key_reused`.
    """
    method = METHODS.get(request.payment_method)
    if method is None:
        raise Invalid("payment_method_unknown", "No such payment method.", status=400)
    await latency(parts)
    play = WELL if method.fault is Fault.NONE else await _script_of_attempt(parts, key, request, method.fault)
    if not play.stores:
        return play.reply, None
    answer = await write_once(parts, key, ("charge", request), lambda db: _place_charge(parts, db, key, request))
    return play.reply, answer


async def create_charge_by_rule(parts: Parts, key: str, request: CreateCharge, rule: AnyRule) -> Answer:
    """Charge as `rule` says, whatever the payment method does otherwise. Raises as `create_charge`."""
    if request.payment_method not in METHODS:
        raise Invalid("payment_method_unknown", "No such payment method.", status=400)
    await latency(parts)
    twisted = _twisted(request, rule)

    def act(db: sqlite3.Connection) -> Answer:
        answer = _place_charge(parts, db, key, twisted)
        if isinstance(rule, script.Double):
            _place_charge(parts, db, key + DOUBLE, twisted)
        return answer

    return await write_once(parts, key, ("charge", request), act)


async def reference_of(parts: Parts, charge_id: str) -> str:
    """The reference of a charge; empty when there is no such charge."""
    charge = await parts.database.read(lambda db: store.find_charge(db, charge_id))
    return charge.reference if charge else ""


async def capture_charge(parts: Parts, charge_id: str, amount_minor: int | None, rule: AnyRule | None = None) -> Answer:
    """Take what an authorized charge holds. Raises NotFound, and what `domain.capture` raises."""

    def decide(charge: Charge) -> Charge:
        wanted_minor = charge.amount_minor if amount_minor is None else amount_minor
        if isinstance(rule, script.WrongAmount) and rule.where == "books":
            wanted_minor = max(1, wanted_minor + rule.by_minor)
        return domain.capture(charge, wanted_minor)

    return await _move(parts, charge_id, decide)


async def confirm_charge(parts: Parts, charge_id: str) -> Answer:
    """Go on with a charge after its action. Raises NotFound, and what `domain.confirm` raises."""
    return await _move(parts, charge_id, domain.confirm)


async def cancel_charge(parts: Parts, charge_id: str) -> Answer:
    """Let go of a charge that took no money. Raises NotFound, and what `domain.cancel` raises."""
    return await _move(parts, charge_id, domain.cancel)


async def get_challenge(parts: Parts, charge_id: str, token: str) -> Charge:
    """The charge whose challenge page this is. Raises NotFound, also for a wrong token."""
    return await parts.database.read(lambda db: _challenged(db, charge_id, token))


async def answer_challenge(parts: Parts, charge_id: str, token: str, *, approved: bool) -> Charge:
    """Record what the customer told the issuer, the first time. Raises NotFound, also for a wrong token."""

    def job(db: sqlite3.Connection) -> Charge:
        before = _challenged(db, charge_id, token)
        after = domain.answer_challenge(before, approved=approved)
        _save_move(parts, db, before, after)
        return after

    charge = await parts.database.write(job)
    await announcing.depart(parts, charge.reference)
    return charge


async def get_charge(parts: Parts, charge_id: str) -> ChargeView:
    """A charge as it is now. Raises NotFound."""
    charge = await parts.database.read(lambda db: get_stored_charge(db, charge_id))
    return charge_view(charge, parts.public_url)


async def list_charges(
    parts: Parts, *, limit: int, after: str | None, reference: str | None, idempotency_key: str | None
) -> Page:
    """A page of charges, oldest first. Raises Invalid 400 `cursor_unknown`."""
    charges = await parts.database.read(
        lambda db: store.list_charges(
            db, limit=limit + 1, after=after, reference=reference, idempotency_key=idempotency_key
        )
    )
    if charges is None:
        raise Invalid("cursor_unknown", "after= names no charge.", status=400)
    shown = [charge_view(charge, parts.public_url) for charge in charges[:limit]]
    return Page(shown, shown[-1].id if len(charges) > limit else None)


async def list_refunds(
    parts: Parts, *, limit: int, after: str | None, charge_id: str | None, reference: str | None
) -> Page:
    """A page of refunds, oldest first. Raises Invalid 400 `cursor_unknown`."""
    refunds = await parts.database.read(
        lambda db: store.list_refunds(db, limit=limit + 1, after=after, charge_id=charge_id, reference=reference)
    )
    if refunds is None:
        raise Invalid("cursor_unknown", "after= names no refund.", status=400)
    shown = [refund_view(refund) for refund in refunds[:limit]]
    return Page(shown, shown[-1].id if len(refunds) > limit else None)


async def get_balance(parts: Parts) -> Balance:
    """Totals of every currency."""
    rows = await parts.database.read(store.list_balances)
    return Balance(
        [
            CurrencyBalance(
                currency=currency,
                charges=charges,
                refunds=refunds,
                captured_minor=captured_minor,
                refunded_minor=refunded_minor,
                net_minor=captured_minor - refunded_minor,
            )
            for currency, charges, refunds, captured_minor, refunded_minor in rows
        ]
    )


async def change_conditions(parts: Parts, control: Control) -> ConditionsView:
    """Make weather, and say what it is."""
    parts.conditions.change(control)
    if parts.courier is not None:
        parts.courier.wake()
    pending, abandoned = await parts.database.read(store.count_deliveries)
    return parts.conditions.view(webhooks_pending=pending, webhooks_abandoned=abandoned)


async def _script_of_attempt(parts: Parts, key: str, request: CreateCharge, fault: Fault) -> Script:
    """Count the attempt, durably, and wait as long as its script says; not when the answer is there already."""
    attempt = await parts.database.write(lambda db: store.next_attempt(db, key))
    play = script_of(fault, seed=parts.seed, reference=request.reference, attempt=attempt)
    if play.wait_s and await parts.database.read(lambda db: store.find_answer(db, key)) is None:
        await asyncio.sleep(play.wait_s)
    return play


async def write_once(
    parts: Parts,
    key: str,
    request: tuple[str, CreateCharge | CreateRefund],
    act: Callable[[sqlite3.Connection], Answer],
) -> Answer:
    """Run `act` unless `key` has an answer. A duplicate waits for the first because there is one writer."""
    fingerprint = hashlib.sha256(msgspec.json.encode(request, order="deterministic")).digest()

    def job(db: sqlite3.Connection) -> Answer:
        found = store.find_answer(db, key)
        if found is not None:
            first, answer = found
            if first != fingerprint:
                raise Conflict("idempotency_key_reused", "This Idempotency-Key was used with another request.")
            return answer
        answer = act(db)
        store.insert_answer(db, key, fingerprint, answer)
        return answer

    answer = await parts.database.write(job)
    await announcing.depart(parts, request[1].reference)
    return answer


def _twisted(request: CreateCharge, rule: AnyRule) -> CreateCharge:
    """What the books get instead of `request`."""
    match rule:
        case script.WrongAmount(where="books"):
            return replace(request, amount_minor=max(1, request.amount_minor + rule.by_minor))
        case script.WrongCurrency(where="books"):
            return replace(request, currency=rule.currency)
        case script.WrongReference(where="books"):
            return replace(request, reference=rule.says)
        case _:
            return request


def _place_charge(parts: Parts, db: sqlite3.Connection, key: str, request: CreateCharge) -> Answer:
    method = METHODS[request.payment_method]
    charge = Charge(
        id=sandbox_id("ch"),
        idempotency_key=key,
        reference=request.reference,
        payment_method=request.payment_method,
        amount_minor=request.amount_minor,
        currency=request.currency,
        capture=request.capture,
        metadata=request.metadata,
        created_at=now(parts),
    )
    if method.failure_code:
        charge = domain.decline(charge, method.failure_code)
    elif method.challenge:
        charge = domain.challenge(charge, secrets.token_urlsafe(CHALLENGE_TOKEN_BYTES))
    else:
        charge = domain.confirm(charge)
    store.insert_charge(db, charge)
    view = _announce_charge(parts, db, charge)
    return _answer(view, 201)


async def _move(parts: Parts, charge_id: str, decide: Callable[[Charge], Charge]) -> Answer:
    """Load a charge, apply `decide`, save what it changed."""
    await latency(parts)
    references: list[str] = []

    def job(db: sqlite3.Connection) -> Answer:
        before = get_stored_charge(db, charge_id)
        after = decide(before)
        references.append(after.reference)
        return _answer(_save_move(parts, db, before, after), 200)

    answer = await parts.database.write(job)
    await announcing.depart(parts, references[0])
    return answer


def _save_move(parts: Parts, db: sqlite3.Connection, before: Charge, after: Charge) -> ChargeView:
    if after is before:
        return charge_view(after, parts.public_url)
    store.update_charge(db, after)
    return _announce_charge(parts, db, after)


def _answer(view: ChargeView, status: int) -> Answer:
    """A charge as an answer: a declined one is a 402 that carries it."""
    if view.status == Status.FAILED:
        return Answer(402, msgspec.json.encode(decline_body(view)))
    return Answer(status, msgspec.json.encode(view))


def _announce_charge(parts: Parts, db: sqlite3.Connection, charge: Charge) -> ChargeView:
    view = charge_view(charge, parts.public_url)
    announcing.announce(parts, db, f"charge.{view.status}", view, charge.reference)
    return view


def get_stored_charge(db: sqlite3.Connection, charge_id: str) -> Charge:
    """A charge, inside a job. Raises NotFound: `charge_not_found`."""
    charge = store.find_charge(db, charge_id)
    if charge is None:
        raise NotFound("charge_not_found", "No such charge.")
    return charge


def _challenged(db: sqlite3.Connection, charge_id: str, token: str) -> Charge:
    charge = get_stored_charge(db, charge_id)
    expected = charge.challenge_token or ""
    if not expected or not secrets.compare_digest(expected.encode(), token.encode()):
        raise NotFound("charge_not_found", "No such charge.")
    return charge
