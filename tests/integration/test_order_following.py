"""An order followed over server-sent events: through a real server, moved by another instance, resumed, bounded, drained."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
import uvicorn

from tests.conftest import RoomDatabase
from tests.integration.order_fixtures import Neighbour, Shop, captured, neighbour, open_shop, refunded, shop, spoken_of
from tradewind.chassis.identity import Caller
from tradewind.contracts.payment import PaymentRequiresAction
from tradewind.services.order.api import stream
from tradewind.services.order.following import PER_PERSON, Following
from tradewind.services.order.usecases import deadlines

__all__ = ["neighbour", "shop"]

SHIPMENT = {"carrier": "DHL", "tracking": "JD0001"}
PATIENCE_S = 10.0


class Event(msgspec.Struct, frozen=True):
    """One server-sent event."""

    id: int
    name: str
    data: dict[str, Any]


class Doors:
    """The shop behind a real HTTP server."""

    def __init__(self, url: str, shop: Shop) -> None:
        self.url = url
        self.shop = shop

    @contextlib.asynccontextmanager
    async def open(
        self, order: dict[str, Any], *, by: Caller | None = None, last: str | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"authorization": f"Bearer {(by or self.shop.customer).token}"}
        if last is not None:
            headers["last-event-id"] = last
        timeout = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{self.url}/v1/orders/{order['id']}/events", headers=headers) as answer,
        ):
            yield answer


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """What a stream tells, without its comments."""
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    fields: dict[str, str] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Event(int(fields["id"]), fields["event"], msgspec.json.decode(fields["data"]))
            fields = {}


async def next_of(told: AsyncIterator[Event]) -> Event:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(told)


@contextlib.asynccontextmanager
async def served(shop: Shop) -> AsyncIterator[Doors]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            shop.app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield Doors(f"http://127.0.0.1:{listener.getsockname()[1]}", shop)
        server.should_exit = True
        await serving


@pytest_asyncio.fixture
async def doors(shop: Shop) -> AsyncIterator[Doors]:
    async with served(shop) as doors:
        yield doors


async def test_a_story_is_told_as_it_happens_and_ends_with_the_order(doors: Doors) -> None:
    shop = doors.shop
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    async with doors.open(order) as answer:
        assert answer.headers["cache-control"] == "no-store"
        told = events(answer)
        assert (await next_of(told)).name == "placed"
        await shop.pay(order)
        confirmed = await next_of(told)
        assert (confirmed.name, confirmed.data["cause"]) == ("confirmed", "payment.captured.v1")
        await shop.post(f"/v1/orders/{order['id']}/ship", SHIPMENT, by=shop.support)
        assert (await next_of(told)).name == "shipped"
        await shop.post(f"/v1/orders/{order['id']}/deliver", by=shop.support)
        assert (await next_of(told)).name == "delivered"
        end = await next_of(told)
        assert (end.name, end.data["status"], end.data["id"]) == ("end", "delivered", order["id"])
        with pytest.raises(StopAsyncIteration):
            await next_of(told)
    async with doors.open(order, last=str(end.id)) as again:
        assert again.status == 204
    async with doors.open(order, last=str(confirmed.id)) as resumed:
        assert [event.name async for event in events(resumed)] == ["shipped", "delivered", "end"]


async def test_another_instance_moves_it(room_database: RoomDatabase, neighbour: Neighbour) -> None:
    access = await room_database("order")
    async with (
        open_shop(access.url, neighbour.url) as shop,
        open_shop(access.url, neighbour.url) as other,
        served(shop) as doors,
    ):
        await shop.stock("mug", 10)
        order = await shop.order(("mug", 1))
        async with doors.open(order) as answer:
            told = events(answer)
            assert (await next_of(told)).name == "placed"
            await other.hear(PaymentRequiresAction(**spoken_of(order), action_url="https://bank.example/3ds"))
            assert (await next_of(told)).name == "action_required"
            await other.wait(901)
            assert await deadlines.pass_deadlines(other.parts) == 1
            assert (await next_of(told)).data["cause"] == "deadline"
            # Cancelled is not the end while the money may still come and go.
            await other.hear(captured(order))
            assert (await next_of(told)).name == "captured_too_late"
            await other.hear(refunded(order, 1_000, 1_000))
            assert [event.name async for event in told] == ["refunded", "end"]


async def test_many_followers_are_told_the_same(doors: Doors) -> None:
    shop = doors.shop
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))

    async def follow() -> list[str]:
        async with doors.open(order) as answer:
            return [event.name async for event in events(answer)]

    following = [asyncio.create_task(follow()) for _ in range(8)]
    async with asyncio.timeout(PATIENCE_S):
        while shop.parts.following.count < 8:
            await asyncio.sleep(0.01)
    await shop.pay(order)
    await shop.hear(refunded(order, 400, 400), refunded(order, 600, 1_000))
    assert await asyncio.gather(*following) == [["placed", "confirmed", "refunded", "cancelled", "end"]] * 8
    assert shop.parts.following.count == 0


async def test_only_who_may_see_an_order_may_follow_it(doors: Doors) -> None:
    shop = doors.shop
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    async with doors.open(order, by=shop.introduce()) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (404, "order-not-found")
    async with doors.open(order, by=shop.support) as answer:
        assert (await next_of(events(answer))).data["by"] == shop.customer.subject
    async with doors.open(order) as answer:
        assert "by" not in (await next_of(events(answer))).data
    for wrong in ("x", "-1", "1.5", "9" * 20, "٣"):
        answer_to = await shop.ask("GET", f"/v1/orders/{order['id']}/events", by=shop.customer, last_event_id=wrong)
        assert (answer_to.status, answer_to.json["code"]) == (400, "last-event-id-invalid"), wrong


async def test_streams_are_bounded_by_person_and_by_instance(doors: Doors) -> None:
    shop = doors.shop
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(PER_PERSON):
            answer = await stack.enter_async_context(doors.open(order))
            await next_of(events(answer))
        async with doors.open(order) as one_too_many:
            assert (one_too_many.status, one_too_many.headers["retry-after"]) == (429, "5")
        for _ in range(30 - PER_PERSON):
            answer = await stack.enter_async_context(doors.open(order, by=shop.support))
            await next_of(events(answer))
        async with doors.open(order, by=shop.admin) as refused:
            assert (refused.status, (await refused.json(content_type=None))["code"]) == (503, "too-many-streams")
    async with asyncio.timeout(PATIENCE_S):
        while shop.parts.following.count:
            await asyncio.sleep(0.01)
    async with doors.open(order) as answer:
        assert (await next_of(events(answer))).name == "placed"


async def test_a_quiet_stream_shows_that_it_lives_and_ends_in_time(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = doors.shop
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    async with doors.open(order) as answer:
        beats = 0
        async for raw in answer.content:
            beats += raw == b":\n"
            if beats == 3:
                shop.clock.advance(600)
                beats = 100
        assert beats >= 100


async def test_a_stop_ends_all_streams_at_once(doors: Doors) -> None:
    shop = doors.shop
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    async with doors.open(order) as answer:
        told = events(answer)
        await next_of(told)
        shop.parts.following.draining.set()
        with pytest.raises(StopAsyncIteration):
            await next_of(told)
    async with doors.open(order) as refused:
        assert refused.status == 503


async def test_nobody_follows_nobody_looks(shop: Shop) -> None:
    following = Following(shop.database, asyncio.Event(), look_every_s=0.01, most=5)
    assert following._looking is None
    with following.follow("01a2124b-19d8-70e4-870e-7d2cad3d13f4", "ada", 0):
        looking = following._looking
        assert looking is not None
    await asyncio.wait_for(looking, PATIENCE_S)
