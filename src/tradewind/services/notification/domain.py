"""Which event tells whom what. Pure: an event goes in, a notice comes out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from tradewind.chassis.events import Event
from tradewind.contracts.auth import UserRegistered
from tradewind.contracts.money import Money
from tradewind.contracts.order import OrderCancelled, OrderConfirmed, OrderDelivered, OrderShipped
from tradewind.contracts.payment import PaymentRefunded, PaymentRequiresAction

FIRST_RETRY_S = 2.0
LAST_RETRY_S = 600.0

# ISO 4217 currencies whose minor unit is not a hundredth.
_DIGITS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "UGX": 0, "XAF": 0, "XOF": 0, "BHD": 3, "KWD": 3, "TND": 3}

_CANCELLED_BECAUSE = {
    "declined": "the payment was declined",
    "customer": "you cancelled it",
    "support": "our support cancelled it",
    "expired": "the payment did not arrive in time",
    "refunded": "it was refunded in full",
}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What one customer is told once: `kind` names the mail's template, `data` is what the template may show."""

    user_id: str
    kind: str
    title: str
    body: str
    data: Mapping[str, object]


def notice_of(event: Event) -> Notice | None:
    """The notice an event gives rise to, if any."""
    match event:
        case UserRegistered():
            title, body = "Welcome", f"Hello {event.name}, your account is ready."
            return _notice(event.user_id, "welcome", title, body, event)
        case OrderConfirmed():
            title = f"Order {event.number} is confirmed"
            body = f"We received {money_text(event.total)} and are packing your order."
            lines = [f"{line.quantity} x {line.name}, {money_text(line.total)}" for line in event.lines]
            return _notice(event.customer_id, "order_confirmed", title, body, event, lines=lines)
        case OrderCancelled():
            title = f"Order {event.number} is cancelled"
            body = f"Your order was cancelled because {_CANCELLED_BECAUSE[event.reason]}."
            if event.was == "confirmed" and event.reason != "refunded":
                body += " What you paid goes back to you."
            return _notice(event.customer_id, "order_cancelled", title, body, event)
        case OrderShipped():
            title = f"Order {event.number} is on its way"
            body = f"{event.carrier} has it; the tracking number is {event.tracking}."
            return _notice(event.customer_id, "order_shipped", title, body, event)
        case OrderDelivered():
            title, body = f"Order {event.number} has arrived", "Enjoy it."
            return _notice(event.customer_id, "order_delivered", title, body, event)
        case PaymentRefunded():
            title, body = "Your refund is on its way", f"We refunded {money_text(event.amount)}."
            return _notice(event.customer_id, "payment_refunded", title, body, event)
        case PaymentRequiresAction():
            title, body = "Please confirm your payment", f"Your bank asks you to confirm {money_text(event.amount)}."
            return _notice(event.customer_id, "payment_action", title, body, event, url=event.action_url)
        case _:
            return None


def _notice(user_id: str, kind: str, title: str, body: str, event: Event, **more: object) -> Notice:
    names = ("order_id", "number", "payment_id", "refund_id")
    data = {name: getattr(event, name) for name in names if hasattr(event, name)}
    return Notice(user_id=user_id, kind=kind, title=title, body=body, data={**data, **more})


def money_text(money: Money) -> str:
    """An amount as people write it: `EUR 19.99`, `JPY 2000`."""
    digits = _DIGITS.get(money.currency, 2)
    sign, minor = ("-" if money.amount_minor < 0 else ""), abs(money.amount_minor)
    if digits == 0:
        return f"{money.currency} {sign}{minor}"
    return f"{money.currency} {sign}{minor // 10**digits}.{minor % 10**digits:0{digits}d}"


def next_try(now: datetime, attempts: int) -> datetime:
    """When a mail that failed `attempts` times is tried again: doubling from 2 s up to 10 min, for ever."""
    return now + timedelta(seconds=min(FIRST_RETRY_S * 2 ** min(attempts - 1, 20), LAST_RETRY_S))


def message_id(notification_id: str, sender: str) -> str:
    """RFC 5322 Message-ID, the same for every try, so that a mail that arrives twice is seen to be one."""
    domain = sender.rpartition("@")[2].strip("<> ") or "tradewind.example"
    return f"<{notification_id}@{domain}>"
