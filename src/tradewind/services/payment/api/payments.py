"""Payments, refunds and webhooks."""

# ruff: noqa: ARG001 - a preparation takes what its handler takes, and the handler what the path names

from __future__ import annotations

import msgspec

from tradewind.chassis.http import PUBLIC, SIGNED_IN, Call, Id, Page, PageQuery, Reply, etag, roles
from tradewind.chassis.postgres import Tx
from tradewind.services.payment import usecases
from tradewind.services.payment.api.door import api
from tradewind.services.payment.api.views import (
    PaymentView,
    RefundReceipt,
    RefundRequest,
    payment_view,
    refund_receipt,
)
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store.reading import Shown

REFUNDERS = roles("support", "finance")
WEBHOOK_BYTES = 256 * 1024


class _Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ends."""

    id: Id


@api.get("/v1/payments", access=SIGNED_IN)
async def list_payments(call: Call[Parts], page: PageQuery, order_id: Id | None = None) -> Page[PaymentView]:
    """List payments.

    With `order_id`: the payment of that order, if it is yours (support and finance see every order's). Without: your own,
    newest first.
    """
    if order_id is not None:
        found = await usecases.payments_of_order(call.parts, call.caller, order_id)
    else:
        after = page.after(_Position)
        found = await usecases.own_payments(
            call.parts, call.caller, before=after.id if after else None, limit=page.limit + 1
        )
    return page.page(found, payment_view, lambda shown: _Position(shown.payment.id))


@api.get("/v1/payments/{id}", access=SIGNED_IN, raises=("payment-not-found",))
async def get_payment(call: Call[Parts], id: Id) -> Reply[PaymentView]:
    """Show a payment."""
    return _reply(await usecases.show_payment(call.parts.database, call.caller, id))


@api.post(
    "/v1/payments/{id}/confirm", access=SIGNED_IN, idempotent=True, raises=("payment-not-found", "illegal-transition")
)
async def confirm_payment(call: Call[Parts], tx: Tx, id: Id) -> Reply[PaymentView]:
    """Go on with a payment after its `next_action`.

    Call it when you have been at `next_action.url`. It answers 200 with the payment in `processing`, while the provider is
    being asked; read the payment to see what came of it: `captured`, `failed`, or `requires_action` again where the action
    is still due. A payment that has gone on already is answered as it is.
    """
    await usecases.confirm_payment(call.parts, tx, call.caller, id)
    return _reply(await usecases.show_payment(tx, call.caller, id))


async def payment_with_id(call: Call[Parts], id: Id, body: RefundRequest) -> str:
    """The payment, as soon as it is heard of."""
    return await usecases.payment_to_refund(call.parts, payment_id=id)


async def payment_of_order(call: Call[Parts], id: Id, body: RefundRequest) -> str:
    """The payment of an order, as soon as it is heard of."""
    return await usecases.payment_to_refund(call.parts, order_id=id)


@api.post(
    "/v1/payments/{id}/refunds",
    urgent=True,
    access=REFUNDERS,
    status=201,
    idempotent=True,
    prepare=payment_with_id,
    raises=("payment-not-found", "payment-pending", "refund-exceeds-captured"),
)
async def refund_payment(call: Call[Parts], tx: Tx, id: Id, body: RefundRequest, prepared: str) -> RefundReceipt:
    """Refund a payment.

    Without `amount` all that is left is refunded. The answer does not wait for the provider: the refund is `pending`, and
    counts against what is left at once. 503 `payment-pending`: the order may be too young to be known here; try again with the
    same key, in a second.
    """
    new = await usecases.refund_payment(call.parts, tx, call.caller, prepared, amount=body.amount, reason=body.reason)
    return refund_receipt(new)


@api.post(
    "/v1/orders/{id}/refunds",
    urgent=True,
    access=REFUNDERS,
    status=201,
    idempotent=True,
    prepare=payment_of_order,
    raises=("order-not-found", "payment-pending", "refund-exceeds-captured"),
)
async def refund_order(call: Call[Parts], tx: Tx, id: Id, body: RefundRequest, prepared: str) -> RefundReceipt:
    """Refund an order.

    The same as a refund of the order's payment.
    """
    new = await usecases.refund_payment(call.parts, tx, call.caller, prepared, amount=body.amount, reason=body.reason)
    return refund_receipt(new)


@api.post(
    "/v1/payments/webhooks/{provider}",
    urgent=True,
    access=PUBLIC,
    raw=True,
    rate="none",
    max_body_bytes=WEBHOOK_BYTES,
    raises=("signature-invalid", "malformed-json", "provider-not-found"),
)
async def hear_provider(call: Call[Parts], provider: str, body: bytes) -> None:
    """Take a provider's webhook.

    Signed by the provider over the raw bytes, no older than 5 minutes. Doubles do no harm, nor does any order of arrival.
    """
    await usecases.hear_provider(call.parts, provider, call.request.headers, body)


def _reply(shown: Shown) -> Reply[PaymentView]:
    return Reply(payment_view(shown), etag=etag(shown.payment.revision))
