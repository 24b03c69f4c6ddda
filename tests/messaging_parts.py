"""What the messaging tests share: two event types, a bus per test, a way to wait, and a wire that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from tradewind.chassis.events import Envelope, Event, encode
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Database
from tradewind.chassis.transport import (
    Delivered,
    Message,
    Place,
    Positions,
    Subscription,
    Transport,
    is_kafka,
    open_transport,
)
from tradewind.chassis.transport.kafka.address import parse
from tradewind.stack.kafka import KafkaEngine

CHILD = Path(__file__).with_name("messaging_child.py")


class Placed(Event, frozen=True, kw_only=True):
    """The n-th event of its key."""

    TYPE = "parcel.placed.v1"
    TOPIC = "parcel"

    n: int
    note: str = ""


class Shipped(Event, frozen=True, kw_only=True):
    """Another one on the same topic."""

    TYPE = "parcel.shipped.v1"
    TOPIC = "parcel"

    n: int


class Bus:
    """One empty bus, of some implementation; every `transport()` is a process' own way to it.

    How soon others notice differs: `eviction_s` after a member was killed, `handover_s` after it left.
    """

    def __init__(self, url: str, kafka: KafkaEngine | None = None) -> None:
        self.url = url
        self.kafka = is_kafka(url)
        self._engine = kafka
        self.eviction_s, self.handover_s = (12.0, 2.0) if self.kafka else (3.0, 0.7)
        self._open: list[Transport] = []

    async def transport(self, member: str = "test") -> Transport:
        """A further connection to the bus."""
        transport = await open_transport(self.url, member=member)
        self._open.append(transport)
        return transport

    async def rewind(self, group: str) -> None:
        """Make the group, of which no member may be there, forget how far it was."""
        if not self.kafka:
            bus = await Database.open(self.url)
            await bus.execute("DELETE FROM consumer_offset WHERE consumer_group = $1", group)
            await bus.close()
            return
        address = parse(self.url)
        admin = AdminClient({"bootstrap.servers": address.servers})
        places = await self._open[0].positions(group)
        offsets = [TopicPartition(address.outside(topic), n, 0) for topic, n in places]
        wanted = ConsumerGroupTopicPartitions(address.outside(group), offsets)
        for future in admin.alter_consumer_group_offsets([wanted]).values():
            future.result(10)

    def wire(self) -> Wire:
        """A way to this bus that can be cut."""
        if not self.kafka:
            return Wire(self.url)
        if self._engine is None:
            pytest.skip("not run: the broker at KAFKA_BOOTSTRAP sends its clients past a proxy")
        parts = urlsplit(self.url)
        behind = parts._replace(netloc=f"127.0.0.1:{self._engine.behind_proxy_port}")
        return Wire(urlunsplit(behind), port=self._engine.proxy_port)

    async def close(self) -> None:
        """Close all of them."""
        for transport in self._open:
            await transport.close()


def message(key: str, n: int = 0, *, topic: str = "parcel", event: Event | None = None, id_: str = "") -> Message:
    """A message as the relay makes it; `Placed(n=n)` unless another event is given."""
    data = event or Placed(n=n)
    envelope = Envelope(
        id=id_ or new_id(),
        source="test",
        type=data.TYPE,
        subject=key,
        time=datetime.now(UTC),
        aggregateversion=n + 1,
        data=data,
    )
    return Message(topic=topic, key=key, id=envelope.id, type=data.TYPE, value=encode(envelope), headers={"n": str(n)})


def delivered(sent: Message, *, partition: int = 0, offset: int = 0) -> Delivered:
    """`sent` as if it had been read from there."""
    return Delivered(**msgspec.structs.asdict(sent), partition=partition, offset=offset)


def number(delivered: Message) -> int:
    """The `n` that `message` was given."""
    return int(delivered.headers["n"])


async def until(condition: Callable[[], bool | Awaitable[bool]], *, within_s: float = 10.0, what: str = "") -> float:
    """Wait until `condition` holds; returns the seconds it took, fails after `within_s`."""
    started_s = time.monotonic()
    while True:
        outcome = condition()
        if outcome if isinstance(outcome, bool) else await outcome:
            return time.monotonic() - started_s
        assert time.monotonic() - started_s < within_s, f"not within {within_s:g} s: {what or condition}"
        await asyncio.sleep(0.01)


async def drain(
    subscription: Subscription, count: int, *, within_s: float = 10.0, commit: bool = True
) -> list[Delivered]:
    """Fetch until `count` messages have come."""
    found: list[Delivered] = []
    deadline_s = time.monotonic() + within_s
    while len(found) < count:
        assert time.monotonic() < deadline_s, f"{len(found)} of {count} messages within {within_s:g} s"
        batch = await subscription.fetch(500, 0.2)
        found += batch.messages
        if commit and batch.messages:
            await subscription.commit(ends(batch.messages))
    return found


def ends(messages: Sequence[Delivered]) -> Positions:
    """The positions behind `messages`."""
    positions: dict[Place, int] = {}
    for each in messages:
        positions[each.place] = max(each.offset + 1, positions.get(each.place, 0))
    return positions


@contextlib.asynccontextmanager
async def child(*args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`messaging_child.py` with arguments, its stdout a pipe; dead when the block ends."""
    process = await asyncio.create_subprocess_exec(sys.executable, str(CHILD), *args, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, word: str, *, within_s: float = 10.0) -> str:
    """The rest of the next line of a child that begins with `word`."""
    assert process.stdout is not None
    async with asyncio.timeout(within_s):
        while line := (await process.stdout.readline()).decode():
            first, _, rest = line.strip().partition(" ")
            if first == word:
                return rest
    raise AssertionError(f"the child ended without saying {word}")


@contextlib.asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a loop beside the test; it must neither end nor fail by itself."""
    task = asyncio.ensure_future(work)
    try:
        yield task
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception():
            raise task.exception()  # type: ignore[misc]


class Relaying:
    """A transport that does as `inner` does, for a test to change one thing of."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def publish(self, messages: Sequence[Message]) -> None:
        await self.inner.publish(messages)


class Wire:
    """A TCP proxy before the server of a DSN. `cut` breaks all connections and refuses new ones, `mend` lets them in."""

    def __init__(self, url: str, *, port: int = 0) -> None:
        self._port = port
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._parts = parts
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._up = True
        self.url = ""

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        port = self._server.sockets[0].getsockname()[1]
        user = self._parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._parts._replace(netloc=f"{user}@127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """From now on nothing gets through."""
        self._up = False
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """New connections work again."""
        self._up = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._writers -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
