"""A process that takes part in messaging and is made to be killed. Prints a line for whatever happens.

zombie BUS_URL GROUP TOPIC           takes a batch, does nothing for long, and commits it
member BUS_URL GROUP TOPIC           reads in a group and commits what it read
relay DATABASE_URL BUS_URL           publishes one batch and never gets to deleting it
consumer DATABASE_URL BUS_URL GROUP  writes (key, n) of every Placed into the table `effect`
failing DATABASE_URL BUS_URL GROUP   the same, but fails on whatever has the key `bad`
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.messaging_parts import Placed, Relaying, ends
from tradewind.chassis.consumer import Consumer, Handlers
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.events import Received
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database, Tx
from tradewind.chassis.relay import Relay
from tradewind.chassis.transport import Message, open_transport

ZOMBIE_S = 4.0


def say(*words: object) -> None:
    print(*words, flush=True)


async def member(bus_url: str, group: str, topic: str) -> None:
    transport = await open_transport(bus_url, member="child")
    subscription = await transport.subscribe(group, [topic])
    say("joined")
    while True:
        batch = await subscription.fetch(10, 0.1)
        for each in batch.messages:
            say("got", each.id)
        await subscription.commit(ends(batch.messages))


async def zombie(bus_url: str, group: str, topic: str) -> None:
    """Is stopped between taking and committing, for so long that its partitions are somebody else's by then."""
    transport = await open_transport(bus_url, member="zombie")
    subscription = await transport.subscribe(group, [topic])
    batch = await subscription.fetch(500, 10.0)
    say("holds", len(batch.messages))
    started_s = time.monotonic()
    while time.monotonic() - started_s < ZOMBIE_S:
        time.sleep(0.05)  # noqa: ASYNC251 - it is to do nothing meanwhile
    try:
        await subscription.commit(ends(batch.messages))
    except Unavailable as exc:
        say("committed", exc.detail)
    else:
        say("committed", "without complaint")
    await asyncio.sleep(60)


class _NeverReturns(Relaying):
    """The bus has the messages, and we never hear of it."""

    async def publish(self, messages: Sequence[Message]) -> None:
        await super().publish(messages)
        say("published", len(messages))
        await asyncio.Event().wait()


async def relay(database_url: str, bus_url: str) -> None:
    await Relay(database_url, _NeverReturns(await open_transport(bus_url, member="child")), Outbox("test")).run()


async def consumer(database_url: str, bus_url: str, group: str, bad: str = "") -> None:
    handlers = Handlers[None]()

    @handlers.on(Placed)
    async def effect(_parts: None, tx: Tx, event: Received[Placed]) -> None:
        if event.subject == bad:
            say("failing", event.id)
            raise KeyError(bad)
        await tx.execute("INSERT INTO effect (key, n) VALUES ($1, $2)", event.subject, event.data.n)
        say("handling", event.id)

    database = await Database.open(database_url)
    await Consumer(group, database, await open_transport(bus_url, member="child"), handlers, None, batch=5).run()


async def failing(database_url: str, bus_url: str, group: str) -> None:
    await consumer(database_url, bus_url, group, bad="bad")


if __name__ == "__main__":
    roles = {"member": member, "zombie": zombie, "relay": relay, "consumer": consumer, "failing": failing}
    asyncio.run(roles[sys.argv[1]](*sys.argv[2:]))
