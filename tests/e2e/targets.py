"""Something real to aim at, and requests that must be refused: the tables of the bad-input tests are made of these."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.e2e.customers import administrator, bought, newcomer, product
from tests.e2e.edge import Edge
from tests.e2e.operations import BODIES, WEBHOOK, Operation, operations
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import ADDRESS, Shopper, open_shop

AT_ONCE = 8


class Target(msgspec.Struct, frozen=True):
    """A customer with an order, and the name of one real thing for every path parameter."""

    admin: str
    customer: Shopper
    order: Any
    names: dict[str, str]
    operations: list[Operation]


async def something_real(platform: Platform, edge: Edge) -> Target:
    """Make all of it."""
    async with open_shop(platform.url) as shop:
        admin, ada = await administrator(shop), await newcomer(shop)
        sku = await product(shop, admin)
        order = await bought(shop, ada, sku)
        told = await shop.until(ada.token, "/v1/notifications", lambda body: body["items"])
        address = (await shop.call("POST", "/v1/users/me/addresses", token=admin, body=ADDRESS)).body
        sessions = (await shop.call("GET", "/v1/auth/sessions", token=admin)).body["items"]
    names = {
        "/v1/auth/sessions/": sessions[0]["id"],
        "/v1/ledger/accounts/": "psp_clearing",
        "/v1/notifications/": told["items"][0]["id"],
        "/v1/orders/": order["id"],
        "/v1/payments/": order["payment"]["id"],
        "/v1/payments/webhooks/": "sandbox",
        "/v1/products/": sku,
        "/v1/users/": ada.id,
        "/v1/users/me/addresses/": address["id"],
    }
    return Target(admin, ada, order, names, operations((await edge.ask("GET", "/openapi.json")).body))


async def everything(edge: Edge, target: Target) -> dict[str, Any]:
    """What can be read now, by path."""
    found = {}
    for operation in target.operations:
        # Sessions come and go with every login; analytics and the provider's standing follow what other tests did, as do
        # the seals, which a job sets.
        if (
            operation.method != "GET"
            or operation.streams
            or operation.path.startswith(
                ("/v1/auth", "/v1/analytics", "/v1/payments/reconciliation", "/v1/ledger/seals")
            )
        ):
            continue
        wanted = {"limit": 100, "customer_id": "all"}
        path = operation.at(target.names, **{name: wanted[name] for name in wanted if name in operation.query})
        token = target.customer.token if operation.path.startswith("/v1/notifications") else target.admin
        answer = await edge.ask("GET", path, token=token)
        assert answer.status == 200, f"{path}: {answer.raw!r}"
        found[path] = answer.body
    return found


class Attack(msgspec.Struct, frozen=True):
    """A request that must be refused, with one of the statuses `wanted` (none: any 4xx)."""

    name: str
    operation: Operation
    data: bytes | None = None
    path: str = ""
    headers: dict[str, str] = {}
    wanted: tuple[int, ...] = ()


async def refused(edge: Edge, target: Target, attacks: Iterable[Attack]) -> int:
    """Send all of them as an administrator, and require a proper refusal of each; return how many there were."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def send(attack: Attack) -> list[str]:
        operation = attack.operation
        headers = {**({"idempotency-key": new_id()} if operation.keyed else {}), **attack.headers}
        async with gate:
            answer = await edge.ask(
                operation.method,
                attack.path or operation.at(target.names),
                token=target.admin if operation.secured else None,
                headers=headers,
                data=attack.data,
            )
        return [f"{attack.name} at {operation.name}: {fault}" for fault in answer.faults(*attack.wanted)]

    every = list(attacks)
    faults = [fault for found in await asyncio.gather(*(send(attack) for attack in every)) for fault in found]
    assert faults == [], f"{len(faults)} of {len(every)}:\n" + "\n".join(faults)
    return len(every)


def with_body(target: Target) -> list[Operation]:
    """The operations that take JSON. Each has a body in `BODIES`; a new one needs one."""
    found = [operation for operation in target.operations if operation.has_body and operation.name != WEBHOOK]
    assert {operation.name for operation in found} == set(BODIES)
    return found
