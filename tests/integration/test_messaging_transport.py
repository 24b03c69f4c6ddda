"""What every transport promises: one suite, run over each implementation."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import defaultdict

import pytest

from tests.messaging_parts import Bus, child, drain, ends, message, number, running, said, until
from tradewind.chassis.ids import new_id
from tradewind.chassis.transport import Batch, Delivered, Place, Subscription, partition_of


def topic() -> str:
    return f"parcel-{new_id()[-12:]}"


async def owned(subscription: Subscription, seconds: float = 0.0) -> set[Place]:
    """The partitions whose messages a member gets; it must get one of each that it owns."""
    found: set[Place] = set()
    deadline_s = time.monotonic() + seconds
    while True:
        batch = await subscription.fetch(500, 0.05)
        found |= {each.place for each in batch.messages}
        await subscription.commit(ends(batch.messages))
        if time.monotonic() >= deadline_s:
            return found


async def test_messages_arrive_as_they_were_sent_in_the_order_of_their_keys(bus: Bus) -> None:
    transport, name = await bus.transport(), topic()
    sent = [message(f"k{n % 7}", n, topic=name) for n in range(200)]
    for start in range(0, 200, 30):
        await transport.publish(sent[start : start + 30])
    subscription = await transport.subscribe("g", [name])
    found = await drain(subscription, 200)
    assert {each.id: (each.key, each.type, each.value, dict(each.headers)) for each in found} == {
        each.id: (each.key, each.type, each.value, dict(each.headers)) for each in sent
    }
    by_key, by_place = defaultdict(list), defaultdict(list)
    for each in found:
        by_key[each.key].append(number(each))
        by_place[each.place].append(each.offset)
        assert each.place == (name, partition_of(each.key, 8))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert all(offsets == list(range(len(offsets))) for offsets in by_place.values())
    await subscription.close()


async def test_a_reader_never_skips_while_many_publish_at_once(bus: Bus) -> None:
    name, batches, size, publishers = topic(), 40, 12, 4
    transports = [await bus.transport(f"p{n}") for n in range(publishers)]
    reader = await (await bus.transport("reader")).subscribe("g", [name])

    async def publish(p: int) -> None:
        chance = random.Random(p)
        for b in range(batches):
            # Many partitions a batch, in any order: writers who locked in that order would lock each other out.
            keys = chance.choices(range(10), k=size)
            await transports[p].publish([message(f"{p}-{k}", b * size + i, topic=name) for i, k in enumerate(keys)])

    reading = asyncio.create_task(drain(reader, publishers * batches * size, within_s=30))
    await asyncio.gather(*map(publish, range(publishers)))
    found = await reading
    assert len({each.id for each in found}) == len(found)
    by_place, by_key = defaultdict(list), defaultdict(list)
    for each in found:
        by_place[each.place].append(each.offset)
        by_key[each.key].append(number(each))
    assert all(offsets == list(range(len(offsets))) for offsets in by_place.values())
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert not (await reader.fetch(10, 0.3)).messages
    await reader.close()


async def test_every_group_gets_everything_and_a_new_one_begins_at_the_oldest(bus: Bus) -> None:
    transport, name = await bus.transport(), topic()
    await transport.publish([message(f"k{n}", n, topic=name) for n in range(20)])
    for group in ("one", "two"):
        subscription = await transport.subscribe(group, [name])
        assert {number(each) for each in await drain(subscription, 20)} == set(range(20))
        await subscription.close()


async def test_a_group_goes_on_where_it_committed_and_never_back(bus: Bus) -> None:
    transport, name = await bus.transport(), topic()
    await transport.publish([message("k", n, topic=name) for n in range(10)])
    first = await transport.subscribe("g", [name])
    found = await drain(first, 10, commit=False)
    await first.commit({found[3].place: 4})
    await first.commit({found[3].place: 2})
    await first.close()
    second = await transport.subscribe("g", [name])
    assert [number(each) for each in await drain(second, 6)] == [4, 5, 6, 7, 8, 9]
    await second.close()


async def test_positions_heads_lag_and_groups(bus: Bus) -> None:
    transport, name, other = await bus.transport(), topic(), topic()
    subscription = await transport.subscribe("g", [name])
    everywhere = {(name, n): 0 for n in range(8)}
    assert await transport.heads([name]) == everywhere
    assert await transport.positions("g") == everywhere
    place = (name, partition_of("k", 8))
    await transport.publish([message("k", n, topic=name) for n in range(5)])
    await transport.publish([message("k", 0, topic=other)])
    assert await transport.heads([name]) == {**everywhere, place: 5}
    assert (await transport.heads())[other, partition_of("k", 8)] == 1
    await drain(subscription, 5, commit=False)
    assert await subscription.lag() == {name: 5}
    await subscription.commit({place: 3})
    assert await subscription.lag() == {name: 2}
    assert await transport.positions("g") == {**everywhere, place: 3}
    assert await transport.positions("nobody") == {}
    assert "g" in await transport.groups()
    await subscription.close()


async def test_whoever_does_not_want_to_wait_gets_what_is_there(bus: Bus) -> None:
    transport, name = await bus.transport(), topic()
    subscription = await transport.subscribe("g", [name])
    await transport.publish([message("k", 0, topic=name)])

    async def came() -> bool:
        return bool((await subscription.fetch(10, 0.0)).messages)

    await until(came, what="the message")
    await subscription.close()


async def test_an_empty_fetch_takes_as_long_as_it_may(bus: Bus) -> None:
    subscription = await (await bus.transport()).subscribe("g", [topic()])
    await subscription.fetch(10, 0.0)
    started_s = time.monotonic()
    assert await subscription.fetch(10, 0.4) == Batch([], set())
    assert 0.35 < time.monotonic() - started_s < 1.5
    await subscription.close()


async def test_partitions_that_are_to_be_skipped_keep_their_messages(bus: Bus) -> None:
    transport, name = await bus.transport(), topic()
    subscription = await transport.subscribe("g", [name])
    await transport.publish([message(f"k{n}", n, topic=name) for n in range(100)])
    tired = {(name, 0), (name, 1)}
    awake = sum(partition_of(f"k{n}", 8) > 1 for n in range(100))
    found: list[Delivered] = []
    started_s = time.monotonic()
    while len(found) < awake:
        assert time.monotonic() - started_s < 15
        found += (await subscription.fetch(500, 0.5, skip=tired)).messages
    assert not (await subscription.fetch(500, 0.3, skip=tired)).messages
    assert not {each.place for each in found} & tired
    rest = await drain(subscription, 100 - len(found))
    assert {each.place for each in rest} == tired
    await subscription.close()


async def test_a_full_partition_does_not_starve_its_neighbours(bus: Bus) -> None:
    transport, name = await bus.transport(), topic()
    # The full one stands first in any order a reader would take by itself.
    full, *_, thin = sorted("abcdefgh", key=lambda key: partition_of(key, 8))
    await transport.publish([message(full, n, topic=name) for n in range(500)])
    await transport.publish([message(thin, 0, topic=name)])
    subscription = await transport.subscribe("g", [name])
    keys: list[str] = []
    while thin not in keys:
        keys += [each.key for each in (await subscription.fetch(20, 1.0)).messages]
        assert len(keys) < 100
    await subscription.close()


async def test_two_members_share_and_no_partition_is_anybodys_twice(bus: Bus) -> None:
    name = topic()
    transport = await bus.transport()
    first = await transport.subscribe("g", [name])
    second = await (await bus.transport("second")).subscribe("g", [name])
    everywhere = [message(f"k{n}", n, topic=name) for n in range(64)]

    async def shared() -> bool:
        await transport.publish([message(each.key, number_of(each.headers), topic=name) for each in everywhere])
        mine, theirs = await asyncio.gather(owned(first, 0.2), owned(second, 0.2))
        return len(mine) == len(theirs) == 4 and not mine & theirs

    await until(shared, within_s=8)
    await first.close()
    await second.close()


def number_of(headers: object) -> int:
    return int(dict(headers)["n"])  # type: ignore[call-overload]


async def test_everything_is_delivered_while_members_come_and_go(bus: Bus) -> None:
    """Members that finish what they have lose nothing, double nothing, and keep every key in order."""
    name, total = topic(), 1_500
    transport = await bus.transport()
    taken: list[Delivered] = []

    async def member(n: int, stop: asyncio.Event) -> None:
        subscription = await (await bus.transport(f"m{n}")).subscribe("g", [name])
        while not stop.is_set():
            batch = await subscription.fetch(20, 0.05)
            taken.extend(batch.messages)
            await asyncio.sleep(0.002)
            await subscription.commit(ends(batch.messages))
        await subscription.close()

    async def publish() -> None:
        for n in range(0, total, 15):
            await transport.publish([message(f"k{i % 40}", i, topic=name) for i in range(n, n + 15)])
            await asyncio.sleep(0.02)

    stops = [asyncio.Event() for _ in range(4)]
    members = [asyncio.create_task(member(0, stops[0]))]
    publishing = asyncio.create_task(publish())
    for n in (1, 2, 3):
        await asyncio.sleep(0.4)
        members.append(asyncio.create_task(member(n, stops[n])))
        if n == 2:
            stops[0].set()
    await publishing
    await until(lambda: len(taken) >= total, within_s=15)
    for stop in stops:
        stop.set()
    await asyncio.gather(*members)
    assert len(taken) == total
    by_key = defaultdict(list)
    for each in taken:
        by_key[each.key].append(number(each))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


async def test_what_a_member_has_taken_it_finishes_before_another_gets_the_partition(bus: Bus) -> None:
    name = topic()
    transport = await bus.transport()
    first = await transport.subscribe("g", [name])
    await transport.publish([message(f"k{n}", n, topic=name) for n in range(64)])
    taken = await drain(first, 64, commit=False)
    second_has: list[Delivered] = []

    async def read_as_second() -> None:
        second = await (await bus.transport("second")).subscribe("g", [name])
        while True:
            second_has.extend((await second.fetch(100, 0.1)).messages)

    async with running(read_as_second()):
        # The second is owed half of the partitions for nearly all of these two seconds (a member hears of another with its
        # next heartbeat); the first still works on what it has of them, for which it has five.
        for _ in range(20):
            taken += (await first.fetch(100, 0.1)).messages
            assert second_has == []
        await first.commit(ends(taken))

        async def shared() -> bool:
            await transport.publish([message(f"k{n}", 64, topic=name) for n in range(64)])
            taken.extend((await first.fetch(100, 0.1)).messages)
            await first.commit(ends(taken))
            return len(second_has) > 0

        await until(shared, within_s=10)
    assert {number(each) for each in second_has} == {64}
    await first.close()


async def test_a_member_that_closes_hands_over_at_once(bus: Bus) -> None:
    name = topic()
    transport = await bus.transport()
    leaving = await (await bus.transport("leaving")).subscribe("g", [name])
    staying = await transport.subscribe("g", [name])
    await transport.publish([message(f"k{n}", n, topic=name) for n in range(64)])
    started_s = time.monotonic()
    await leaving.close()
    await drain(staying, 64)
    # Sooner than anybody would look by himself.
    assert time.monotonic() - started_s < bus.handover_s
    await staying.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_member_that_dies_or_freezes_loses_its_partitions(bus: Bus, how: signal.Signals) -> None:
    name, within_s = topic(), bus.eviction_s if how is signal.SIGKILL else 16.0
    transport = await bus.transport()
    await transport.publish([message(f"k{n}", n, topic=name) for n in range(64)])
    async with child("member", bus.url, "g", name) as process:
        await said(process, "joined")
        theirs = [await said(process, "got") for _ in range(64)]
        staying = await transport.subscribe("g", [name])
        process.send_signal(how)
        more = [message(f"k{n}", n, topic=name) for n in range(64)]
        await transport.publish(more)
        found: list[Delivered] = []
        started_s = time.monotonic()
        while not {each.id for each in more} <= {each.id for each in found}:
            assert time.monotonic() - started_s < within_s
            batch = await staying.fetch(500, 0.1)
            found += batch.messages
            await staying.commit(ends(batch.messages))
        # What the dead one had not committed may come again; nothing comes that it had no part in.
        assert {each.id for each in found} <= {each.id for each in more} | set(theirs)
        await staying.close()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)


async def test_a_member_that_holds_on_too_long_is_told_what_it_lost(bus: Bus) -> None:
    name = topic()
    transport = await bus.transport()
    await transport.publish([message(f"k{n}", n, topic=name) for n in range(64)])
    slow = await transport.subscribe("g", [name])
    unfinished = await drain(slow, 64, commit=False)
    other = await (await bus.transport("other")).subscribe("g", [name])
    lost: set[Place] = set()
    started_s = time.monotonic()
    while len(lost) < 4:
        assert time.monotonic() - started_s < 10
        lost |= set((await slow.fetch(10, 0.2)).lost)
    again = await drain(other, sum(each.place in lost for each in unfinished))
    assert {each.id for each in again} == {each.id for each in unfinished if each.place in lost}
    await slow.close()
    await other.close()


async def test_a_message_is_there_soon_after_it_was_sent(bus: Bus) -> None:
    transport, name = await bus.transport(), topic()
    subscription = await (await bus.transport("reader")).subscribe("g", [name])
    await subscription.fetch(10, 0.0)
    took_s = []
    for n in range(15):
        await asyncio.sleep(0.02)
        sent_s = time.monotonic()
        await transport.publish([message("k", n, topic=name)])
        await drain(subscription, 1)
        took_s.append(time.monotonic() - sent_s)
    # Woken, not found by the poll that comes five times a second.
    assert sorted(took_s)[7] < 0.05
    await subscription.close()


async def test_reading_without_a_group_brings_what_lies_below_the_heads(bus: Bus) -> None:
    transport, name, other = await bus.transport(), topic(), topic()
    await transport.publish([message(f"k{n % 11}", n, topic=name) for n in range(3_000)])
    await transport.publish([message("k", 0, topic=other)])
    heads = await transport.heads([name])
    await transport.publish([message(f"k{n}", 9_999, topic=name) for n in range(11)])
    found = [each async for chunk in transport.read(heads) for each in chunk]
    assert sorted(map(number, found)) == list(range(3_000))
    by_place = defaultdict(list)
    for each in found:
        by_place[each.place].append(each.offset)
    assert all(offsets == list(range(len(offsets))) for offsets in by_place.values())
    late = {place: head - 1 for place, head in heads.items() if head}
    ends_only = [each async for chunk in transport.read(heads, late) for each in chunk]
    assert {each.place: each.offset for each in ends_only} == late
    assert [chunk async for chunk in transport.read({})] == []
    assert await transport.positions("g") == {}


async def test_a_fetch_that_is_cancelled_loses_nothing(bus: Bus) -> None:
    transport, name = await bus.transport(), topic()
    subscription = await transport.subscribe("g", [name])
    found: list[int] = []
    for n in range(30):
        waiting = asyncio.create_task(subscription.fetch(10, 5.0))
        await asyncio.sleep(0.002 * (n % 5))
        publishing = asyncio.create_task(transport.publish([message("k", n, topic=name)]))
        await asyncio.sleep(0.002 * (n % 3))
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            found += map(number, (await waiting).messages)
        await publishing
    started_s = time.monotonic()
    while len(set(found)) < 30:
        assert time.monotonic() - started_s < 15
        found += map(number, (await subscription.fetch(10, 0.2)).messages)
    # In order, as far as each came for the first time.
    assert [n for i, n in enumerate(found) if n not in found[:i]] == list(range(30))
    await subscription.close()
