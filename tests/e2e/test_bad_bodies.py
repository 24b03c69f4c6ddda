"""Bodies that no operation may take: the answer is a proper 4xx problem, and nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.e2e.edge import Answer, Edge
from tests.e2e.operations import BODIES, leaves, with_raw
from tests.e2e.targets import Attack, Target, refused, with_body
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import ADDRESS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("nothing_is_stored")]

MEGABYTES_10 = 10 * 1024 * 1024

BROKEN: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "nothing": (b"", (400,)),
    "half an object": (b"{", (400,)),
    "not JSON": (b"<order/>", (400,)),
    "single quotes": (b"{'a': 1}", (400,)),
    "NaN": (b"NaN", (400,)),
    "a second value": (b"{} {}", (400, 422)),
    "a trailing comma": (b'{"a": 1,}', (400, 422)),
    "a byte order mark": (b"\xef\xbb\xbf{}", (400,)),
    "UTF-16": ("{}".encode("utf-16"), (400,)),
    "broken UTF-8": (b'{"name": "\xc3\x28"}', (400, 422)),
    "a raw NUL": (b'{"name": "\x00"}', (400, 422)),
    "deep arrays": (b"[" * 100_000, (400, 413, 422)),
    "deep objects": (b'{"a":' * 50_000, (400, 413, 422)),
    "deep, and closed": (b"[" * 50_000 + b"]" * 50_000, (400, 413, 422)),
    "an array": (b"[]", (422,)),
    "a string": (b'"order"', (422,)),
    "a number": (b"1", (422,)),
    "null": (b"null", (422,)),
    "an unknown field": (b'{"x-no-such-field": 1}', (422,)),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_body_that_is_none(edge: Edge, target: Target, kind: str) -> None:
    data, wanted = BROKEN[kind]
    await refused(edge, target, [Attack(kind, operation, data, wanted=wanted) for operation in with_body(target)])


NOT_A_STRING = ("5", "true", "{}", '["a"]', '"a\\u0000b"', '"\\ud800"', '"' + "x" * 20_000 + '"')
NOT_AN_INTEGER = (
    "1.5", "1e400", "-1e400", "1e2000000", "NaN", "Infinity", "-Infinity", '"1"', "true", "null", "{}", "[1]",
    str(2**63), str(-(2**63) - 1), str(10**400), "0x10", "01",
)  # fmt: skip


async def test_fields_of_another_type(edge: Edge, target: Target) -> None:
    attacks = []
    for operation in with_body(target):
        body = BODIES[operation.name]
        for at, value in leaves(body):
            for raw in NOT_AN_INTEGER if isinstance(value, int) else NOT_A_STRING:
                data = with_raw(body, at, raw)
                # Some paths take less than the longest of these.
                wanted = (400, 413, 422) if len(raw) > 10_000 else (400, 422)
                attacks.append(Attack(f"{raw[:20]} in /{'/'.join(map(str, at))}", operation, data, wanted=wanted))
    assert await refused(edge, target, attacks) > 300


async def test_money_is_never_a_float_nor_less_than_nothing(edge: Edge, target: Target) -> None:
    attacks = []
    for operation in with_body(target):
        body = BODIES[operation.name]
        for at, value in leaves(body):
            if at[-1] in ("amount_minor", "quantity") or at[-1] == "stock":
                for raw in ("-1", "1.0", "19.99", "1e2", "-0.0", '"19.99"') + (("0",) if at[-1] != "stock" else ()):
                    name = f"{raw} in /{'/'.join(map(str, at))} for {value}"
                    attacks.append(Attack(name, operation, with_raw(body, at, raw), wanted=(422,)))
    assert await refused(edge, target, attacks) >= 30


async def test_fields_that_are_missing(edge: Edge, target: Target) -> None:
    attacks = []
    for operation in with_body(target):
        if operation.method == "PATCH":
            continue
        body = BODIES[operation.name]
        for name in body:
            if name not in ("description", "amount"):
                data = msgspec.json.encode({key: value for key, value in body.items() if key != name})
                attacks.append(Attack(f"no {name}", operation, data, wanted=(422,)))
    assert await refused(edge, target, attacks) > 20


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_a_body_of_ten_megabytes(edge: Edge, target: Target, chunked: bool) -> None:
    """Also where no body is expected: it must not get through to be ignored."""
    body = b'{"name": "' + b"x" * MEGABYTES_10 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**16):
            yield body[start : start + 2**16]

    faults = []
    for operation in target.operations:
        if operation.method in ("GET", "DELETE"):
            continue
        answer = await edge.ask(
            operation.method,
            operation.at(target.names),
            token=target.admin if operation.secured else None,
            headers={"idempotency-key": new_id()},
            data=pieces() if chunked else body,
        )
        faults += [f"{operation.name}: {fault}" for fault in answer.faults(413)]
    assert faults == [], "\n".join(faults)


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "nonsense",
    ],
)
async def test_another_media_type(edge: Edge, target: Target, media_type: str) -> None:
    await refused(
        edge,
        target,
        [
            Attack(
                media_type, operation, msgspec.json.encode(BODIES[operation.name]),
                headers={"content-type": media_type}, wanted=(415,),
            )
            for operation in with_body(target)
        ],
    )  # fmt: skip


async def test_domain_refusals(edge: Edge, target: Target) -> None:
    """Well-formed, and still not to be had."""
    order, admin, customer = target.order, target.admin, target.customer
    sku = order["lines"][0]["sku"]
    nobody = "00000000-0000-7000-8000-000000000000"

    async def post(path: str, body: Any, token: str = customer.token) -> Answer:
        return await edge.ask(
            "POST", path, token=token, data=msgspec.json.encode(body), headers={"idempotency-key": new_id()}
        )

    def order_of(**changes: Any) -> dict[str, Any]:
        lines = [{"sku": sku, "quantity": 1}]
        return {"lines": lines, "payment_method": "pm_card_visa", "shipping_address": ADDRESS, **changes}

    euros = {"amount_minor": 1, "currency": "EUR"}
    attempts = {
        "an unknown SKU": (post("/v1/orders", order_of(lines=[{"sku": "no-such-thing", "quantity": 1}])), 422),
        "nothing": (post("/v1/orders", order_of(lines=[])), 422),
        "less than nothing": (post("/v1/orders", order_of(lines=[{"sku": sku, "quantity": -1}])), 422),
        "a million": (post("/v1/orders", order_of(lines=[{"sku": sku, "quantity": 10**6}])), 422),
        "a price of one's own": (
            post("/v1/orders", order_of(lines=[{"sku": sku, "quantity": 1, "unit_price": euros}])), 422,
        ),
        "two addresses": (post("/v1/orders", order_of(shipping_address_id=nobody)), 422),
        "somebody else's address": (
            post(
                "/v1/orders",
                {
                    "lines": order_of()["lines"],
                    "payment_method": "pm_card_visa",
                    "shipping_address_id": target.names["/v1/users/me/addresses/"],
                },
            ),
            422,
        ),
        "a refund by a customer": (post(f"/v1/orders/{order['id']}/refunds", {"reason": "please"}), 403),
        "a refund of nothing": (
            post(f"/v1/orders/{order['id']}/refunds", {"reason": "x", "amount": {**euros, "amount_minor": 0}}, admin), 422,
        ),
        "a refund below nothing": (
            post(f"/v1/orders/{order['id']}/refunds", {"reason": "x", "amount": {**euros, "amount_minor": -1}}, admin), 422,
        ),
        "a refund in dollars": (
            post(f"/v1/orders/{order['id']}/refunds", {"reason": "x", "amount": {**euros, "currency": "USD"}}, admin), 422,
        ),
        "a refund of too much": (
            post(f"/v1/orders/{order['id']}/refunds", {"reason": "x", "amount": {**euros, "amount_minor": 10**9}}, admin),
            409,
        ),
        "more than is there taken out": (post(f"/v1/products/{sku}/stock", {"delta": -(10**8)}, admin), 409),
        "a SKU twice": (post("/v1/products", {"sku": sku, "name": "x", "price": euros, "stock": 1}, admin), 409),
        "a currency that is none": (
            post("/v1/products", {"sku": "bad-input", "name": "x", "price": {**euros, "currency": "eur"}, "stock": 1}, admin),
            422,
        ),
        "an unsigned webhook": (post("/v1/payments/webhooks/sandbox", {"type": "charge.succeeded"}), 400),
        "a webhook of nobody's": (post("/v1/payments/webhooks/nobody", {}), 404),
    }  # fmt: skip
    faults = []
    for name, (attempt, status) in attempts.items():
        faults += [f"{name}: {fault}" for fault in (await attempt).faults(status)]
    assert faults == [], "\n".join(faults)
