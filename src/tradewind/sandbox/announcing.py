"""Queueing webhooks: in the transaction of the change they tell of, as many copies and as late as weather and script say."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec
from msgspec.structs import replace

from tradewind.chassis.ids import new_id
from tradewind.sandbox import script, store
from tradewind.sandbox.parts import Parts
from tradewind.sandbox.script import On
from tradewind.sandbox.wire import ChargeView, Event, EventData, RefundView

AHEAD_S = 2.0
"""How long an answer waits for the webhook that is to come first."""

OVERTAKES_MS = 150


def announce(
    parts: Parts, db: sqlite3.Connection, event_type: str, view: ChargeView | RefundView, reference: str
) -> None:
    """Queue the webhook of a change. `reference` is the charge's."""
    if parts.courier is None:
        return
    created_at = now(parts)
    event = Event(id=sandbox_id("evt"), type=event_type, created_at=created_at, data=EventData(view))
    rule = parts.conditions.playbook.rule(On.WEBHOOK, reference)
    departures_ms = parts.conditions.webhook_departures_ms(event_type, view.reference)
    signed_ago_s, held_for = 0, None
    match rule:
        case script.Never():
            return
        case script.Late():
            departures_ms = [each + rule.wait_ms for each in departures_ms]
        case script.Double():
            departures_ms = [departures_ms[0], departures_ms[0] + rule.wait_ms]
        case script.Overtaken():
            departures_ms, held_for = [departures_ms[0] + rule.wait_ms], reference
        case script.OldSignature():
            signed_ago_s = rule.age_s
        case script.BeforeAnswer():
            departures_ms = [0]
            parts.courier.expect(event.id)
            parts.ahead[reference] = event.id
        case _:
            pass
    body, created_ms = msgspec.json.encode(event), store.unix_ms(created_at)
    store.release_held(db, reference, created_ms + departures_ms[0] + OVERTAKES_MS)
    for departure_ms in departures_ms:
        store.insert_delivery(
            db, event.id, body, created_ms + departure_ms, signed_ago_s=signed_ago_s, held_for=held_for
        )
    if isinstance(rule, script.UnknownCharge):
        strange = Event(id=sandbox_id("evt"), type=event_type, created_at=created_at, data=EventData(_unknown(view)))
        store.insert_delivery(db, strange.id, msgspec.json.encode(strange), created_ms + departures_ms[0])


async def depart(parts: Parts, reference: str) -> None:
    """Have what is due leave; where the script sends a webhook before the answer, return once it was tried."""
    if parts.courier is None:
        return
    ahead = parts.ahead.pop(reference, None)
    if ahead is not None:
        await parts.courier.tried(ahead, AHEAD_S)
    else:
        parts.courier.wake()


def sandbox_id(prefix: str) -> str:
    """A new id, such as `ch_...`."""
    return f"{prefix}_{new_id().replace('-', '')}"


def now(parts: Parts) -> datetime:
    """The time as it is stored, in whole milliseconds, so that the first answer and a later GET agree."""
    return store.from_unix_ms(store.unix_ms(parts.clock.now()))


def _unknown(view: ChargeView | RefundView) -> ChargeView | RefundView:
    """The like of `view` about something nobody has ever heard of."""
    if isinstance(view, RefundView):
        return replace(view, id=sandbox_id("re"), charge_id=sandbox_id("ch"), reference=new_id())
    metadata = {name: new_id() for name in view.metadata}
    return replace(view, id=sandbox_id("ch"), reference=new_id(), metadata=metadata)
