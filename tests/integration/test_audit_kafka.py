"""The audit where the bus is Apache Kafka: the same checks, on what the brokers hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from tests.integration.audit_lab import BUS, ROOMS, Lab, fill
from tradewind.audit.consumers import subscriptions
from tradewind.audit.invariants import Limits, Violation
from tradewind.chassis.ids import new_id
from tradewind.chassis.transport import Delivered, open_transport

Change = Callable[[Sequence[Delivered]], Iterable[Delivered]]

_LABS: dict[str, Lab] = {}


@pytest.fixture
def lab(postgres_url: str, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """All rooms have run on a real broker, and everything that can happen to orders has happened; once for the file."""
    if kafka_bootstrap not in _LABS:
        url = f"kafka://{kafka_bootstrap}/audit-{new_id()[-6:]}"
        folder = tmp_path_factory.mktemp("lab")
        _LABS[kafka_bootstrap] = asyncio.run(fill(postgres_url, folder, bus_url=url))
    return _LABS[kafka_bootstrap]


async def copied(lab: Lab, bootstrap: str, change: Change, *, read: bool = True) -> str:
    """Another bus with these messages, changed, of which all groups have read what there is, or half; its address."""
    prefix = f"copy-{new_id()[-6:]}"
    url = f"kafka://{bootstrap}/{prefix}"
    source, target = [await open_transport(each, member="test") for each in (lab.urls[BUS], url)]
    messages = [message async for chunk in source.read(await source.heads()) for message in chunk]
    await target.publish(list(change(messages)))
    heads = await target.heads()
    for group, topics in subscriptions(ROOMS).items():
        consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": f"{prefix}.{group}", "enable.auto.commit": False}
        )
        offsets = [
            TopicPartition(f"{prefix}.{topic}", partition, head if read else head // 2)
            for (topic, partition), head in heads.items()
            if topic in topics
        ]
        await asyncio.to_thread(consumer.commit, offsets=offsets, asynchronous=False)
        consumer.close()
    for transport in (source, target):
        await transport.close()
    return url


def named(violations: Iterable[Violation]) -> set[tuple[str, str]]:
    """Invariant and subject of each."""
    return {(violation.invariant, violation.subject) for violation in violations}


async def test_a_true_history_is_clean(lab: Lab) -> None:
    report = await lab.audit()
    assert (report.violations, report.settled, report.complete, report.not_seen) == ([], True, True, [])


async def test_an_event_that_a_room_has_not_taken_is_named(lab: Lab) -> None:
    async with lab.copies("notification") as urls:
        await lab.spoil(urls["notification"], "DELETE FROM inbox WHERE event_id = '{bob_registered_event}'")
        report = await lab.audit(**urls)
    assert named(report.violations) == {("I4", f"event {lab.story['bob_registered_event']}")}


async def test_an_event_that_never_reached_the_broker_is_named(lab: Lab, kafka_bootstrap: str) -> None:
    lost = lab.story["delivered_delivered_event"]
    url = await copied(lab, kafka_bootstrap, lambda messages: [each for each in messages if each.id != lost])
    report = await lab.audit(bus=url)
    assert named(report.violations) == {("I4", f"order {lab.story['delivered']}")}
    assert "never reached the bus" in report.violations[0].detail


async def test_a_version_that_was_left_out_is_named(lab: Lab, kafka_bootstrap: str) -> None:
    def renumbered(messages: Sequence[Delivered]) -> Iterable[Delivered]:
        for each in messages:
            if each.id == lab.story["confirmed_confirmed_event"]:
                value = each.value.replace(b'"aggregateversion":2', b'"aggregateversion":3')
                yield replace(each, value=value)
            else:
                yield each

    report = await lab.audit(bus=await copied(lab, kafka_bootstrap, renumbered))
    assert {violation.invariant for violation in report.violations} == {"I5"}
    assert {violation.subject for violation in report.violations} == {f"order {lab.story['confirmed']}"}


async def test_messages_that_the_broker_lost_are_named(lab: Lab, kafka_bootstrap: str) -> None:
    url = await copied(lab, kafka_bootstrap, lambda messages: messages)
    assert (await lab.audit(bus=url)).violations == []
    transport = await open_transport(url, member="test")
    place, head = max((item for item in (await transport.heads(["order"])).items()), key=lambda item: item[1])
    await transport.close()
    assert head > 2
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    outside = f"{url.rpartition('/')[2]}.{place[0]}"
    partition = TopicPartition(outside, place[1], 2)
    await asyncio.to_thread(next(iter(admin.delete_records([partition]).values())).result, 10)
    report = await lab.audit(bus=url)
    assert {violation.invariant for violation in report.violations} == {"I4"}
    assert all(violation.subject.startswith("order ") for violation in report.violations)
    # An hour ago they would have been old enough to be forgotten.
    assert (await lab.audit(bus=url, limits=Limits(retention_s=3_600.0))).violations == []


async def test_what_nobody_has_read_is_on_its_way_and_named_once_it_is_old(lab: Lab, kafka_bootstrap: str) -> None:
    url = await copied(lab, kafka_bootstrap, lambda messages: messages, read=False)
    report = await lab.audit(bus=url)
    assert (report.violations, report.settled) == ([], False)
    assert any(waiting.startswith("analytics-service: ") for waiting in report.waits_for)
    report = await lab.audit(bus=url, limits=Limits(unread_s=0.0))
    assert {violation.invariant for violation in report.violations} == {"I9"}
    assert all("-service on " in violation.subject for violation in report.violations)


async def test_the_copy_is_gone_with_the_session(lab: Lab) -> None:
    async with lab.copies("analytics") as urls:
        await lab.spoil(urls["analytics"], "CREATE TABLE had AS SELECT count(*) AS n FROM pg_class")
        await lab.audit(**urls)
        await lab.spoil(
            urls["analytics"],
            "DO $$ BEGIN ASSERT (SELECT n + 1 FROM had) = (SELECT count(*) FROM pg_class); END $$",
        )
