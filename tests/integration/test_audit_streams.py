"""What is on its way is waited for, left alone, and never taken for a violation; what is lost is."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.integration.audit_lab import Lab
from tests.integration.audit_lab import lab as lab  # noqa: PLC0414 - a fixture
from tradewind.audit.invariants import Limits
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Database
from tradewind.chassis.transport.postgres import PostgresTransport
from tradewind.stack.ports import free_port

ON_ITS_WAY = """
    INSERT INTO outbox (shard, event_id, topic, key, type, version, envelope)
    VALUES (0, gen_random_uuid(), '%s', '%s', 'order.noted.v1', 9, '%s'::text::bytea)
"""
# The lab's history is as old as the test run is long, so what is on its way is made young: only its age differs from lost.
UNREAD = """
    UPDATE log SET appended_at = now();
    UPDATE consumer_offset o SET next_offset = l."offset" FROM log l
    WHERE l.event_id = '{%s}' AND consumer_group = '%s' AND o.topic = l.topic AND o.partition = l.partition
"""


async def test_an_outbox_is_waited_for_and_named(lab: Lab) -> None:
    async with lab.copies("order") as urls:
        await lab.spoil(urls["order"], ON_ITS_WAY % ("order", "{confirmed}", ""))
        report = await lab.audit(wait_s=0.3, **urls)
        assert (report.clean, report.settled) == (True, False)
        assert report.waits_for == ["order-service: 1 of its events not published"]
        assert report.waited_s >= 0.3

        async def publish() -> None:
            await asyncio.sleep(0.2)
            await lab.spoil(urls["order"], "DELETE FROM outbox")

        publishing = asyncio.create_task(publish())
        report = await lab.audit(wait_s=20.0, **urls)
        await publishing
        assert (report.clean, report.settled, report.waits_for) == (True, True, [])


async def test_an_unread_event_is_waited_for_and_named(lab: Lab) -> None:
    async with lab.copies("bus") as urls:
        await lab.spoil(urls["bus"], UNREAD % ("delivered_delivered_event", "analytics-service"))
        report = await lab.audit(wait_s=0.2, **urls)
        assert (report.clean, report.settled) == (True, False)
        assert len(report.waits_for) == 1
        assert report.waits_for[0].startswith("analytics-service: ")
        assert report.waits_for[0].endswith(" events of the topic order not read")


async def test_an_unknown_outcome_is_waited_for_and_named(lab: Lab) -> None:
    async with lab.copies("payment") as urls:
        await lab.spoil(
            urls["payment"],
            "UPDATE attempt SET status = 'processing', created_at = now() WHERE id = '{waiting_attempt}'",
        )
        report = await lab.audit(**urls)
        assert (report.clean, report.settled) == (True, True)
        assert report.left_out == ["payment-service: 1 of its charges without an outcome"]


async def test_analytics_may_lack_what_they_have_not_read(lab: Lab) -> None:
    async with lab.copies("bus", "analytics") as urls:
        gone = "DELETE FROM %s WHERE event_id = '{confirmed_captured_event}'"
        await lab.spoil(urls["analytics"], gone % "money_fact", gone % "inbox")
        assert {violation.invariant for violation in (await lab.audit(**urls)).violations} == {"I4", "I8"}
        await lab.spoil(urls["bus"], UNREAD % ("confirmed_captured_event", "analytics-service"))
        assert (await lab.audit(**urls)).violations == []


async def test_orders_may_lack_what_is_in_the_outbox_of_payments(lab: Lab) -> None:
    """The money went back, the event that says so is not published: the order may still think that it is paid."""
    async with lab.copies("bus", "order", "payment") as urls:
        await lab.spoil(urls["order"], "UPDATE orders SET refunded_minor = 0 WHERE id = '{partly}'")
        assert {violation.invariant for violation in (await lab.audit(**urls)).violations} == {"I11"}
        on_its_way = ON_ITS_WAY % ("payment", "{partly_payment}", '{{"data":{{"order_id":"{partly}"}}}}')
        await lab.spoil(urls["payment"], on_its_way)
        assert (await lab.audit(**urls)).violations == []


async def test_money_of_a_cancelled_order_may_be_on_its_way_back(lab: Lab) -> None:
    async with lab.copies("order", "payment", "analytics") as urls:
        await lab.spoil(urls["analytics"], "UPDATE order_fact SET cancelled_at = now() WHERE order_id = '{confirmed}'")
        await lab.spoil(
            urls["order"],
            """
            INSERT INTO stock_movement (sku, kind, quantity, order_id, at)
            SELECT sku, 'return', quantity, order_id, now() FROM stock_movement WHERE order_id = '{confirmed}' AND kind = 'sell';
            UPDATE stock s SET available = available + quantity, sold = sold - quantity FROM stock_movement m
            WHERE m.sku = s.sku AND m.order_id = '{confirmed}' AND m.kind = 'sell';
            UPDATE orders SET status = 'cancelled' WHERE id = '{confirmed}'
            """,
        )
        going_back = """
            UPDATE payment SET refunding_minor = %s WHERE id = '{confirmed_payment}';
            DELETE FROM refund WHERE payment_id = '{confirmed_payment}';
            INSERT INTO refund (id, payment_id, amount_minor, reason, requested_by)
            SELECT gen_random_uuid(), id, refunding_minor, 'test', 'test' FROM payment WHERE id = '{confirmed_payment}'
        """
        await lab.spoil(urls["payment"], going_back % "captured_minor")
        assert (await lab.audit(**urls)).violations == []
        await lab.spoil(urls["payment"], going_back % "captured_minor - 1")
        assert {violation.invariant for violation in (await lab.audit(**urls)).violations} == {"I11"}


async def test_an_event_that_was_published_twice_is_one(lab: Lab) -> None:
    """A relay that is killed between publishing and deleting publishes once more: that is what the inboxes are for."""
    async with lab.copies("bus") as urls:
        await lab.spoil(
            urls["bus"],
            """
            INSERT INTO log (topic, partition, "offset", key, event_id, type, value)
            SELECT l.topic, l.partition, p.head, l.key, l.event_id, l.type, l.value
            FROM log l JOIN partition p USING (topic, partition) WHERE l.event_id = '{confirmed_placed_event}';
            UPDATE partition p SET head = head + 1 FROM log l
            WHERE l.event_id = '{confirmed_placed_event}' AND p.topic = l.topic AND p.partition = l.partition
                AND l."offset" < p.head;
            UPDATE consumer_offset o SET next_offset = p.head FROM partition p
            WHERE o.topic = p.topic AND o.partition = p.partition
            """,
        )
        assert (await lab.audit(**urls)).violations == []


@pytest.mark.parametrize("share", [1.0, 0.5])
async def test_retention_is_no_loss(lab: Lab, share: float) -> None:
    """The bus forgets its first events, some partitions all of them, and later the inboxes forget too."""
    async with lab.copies("bus", "payment") as urls:
        await lab.spoil(
            urls["bus"],
            f"""
            UPDATE log l SET appended_at = now() - interval '8 days' FROM partition p
            WHERE p.topic = l.topic AND p.partition = l.partition AND l."offset" < p.head * {share}
            """,
        )
        transport = PostgresTransport(urls["bus"])
        forgotten = 0
        while deleted := await transport.tidy():
            forgotten += deleted
        await transport.close()
        assert forgotten > 10
        # Ids of aggregates say when they were made, and these are minutes old: so let the audit think that this is long.
        old = Limits(retention_s=3_600.0)
        assert (await lab.audit(limits=old, **urls)).violations == []
        if share == 1.0:
            assert await _rows(urls["bus"], "SELECT count(*) FROM log") == 0
            await lab.spoil(urls["payment"], "DELETE FROM inbox")
            assert (await lab.audit(limits=old, **urls)).violations == []


async def test_an_old_aggregate_must_have_its_last_event_on_the_bus(lab: Lab) -> None:
    old = Limits(retention_s=3_600.0)
    async with lab.copies("order") as urls:
        await lab.spoil(urls["order"], "UPDATE orders SET event_version = event_version + 1 WHERE id = '{delivered}'")
        report = await lab.audit(limits=old, **urls)
        assert [(violation.invariant, violation.subject) for violation in report.violations] == [
            ("I4", f"order {lab.story['delivered']}")
        ]


async def test_a_database_that_is_away_is_named(lab: Lab) -> None:
    away = f"postgresql://order_service:x@127.0.0.1:{free_port()}/order_service"
    with pytest.raises(Unavailable, match="database of order is away"):
        await lab.audit(order=away)
    refused = lab.urls["order"].replace(":runtime@", ":wrong@")
    with pytest.raises(Unavailable, match="database of order refuses the audit: password"):
        await lab.audit(order=refused)
    missing = lab.urls["bus"].rpartition("/")[0] + f"/{new_id()}"
    with pytest.raises(Unavailable, match="database of bus refuses the audit"):
        await lab.audit(bus=missing)


async def test_a_database_of_another_version_is_named(lab: Lab) -> None:
    async with lab.copies("payment") as urls:
        await lab.spoil(urls["payment"], "ALTER TABLE payment RENAME refunding_minor TO going_back_minor")
        with pytest.raises(Unavailable, match="database of payment is not migrated"):
            await lab.audit(**urls)


async def test_the_audit_needs_no_right_to_write(lab: Lab) -> None:
    """Everything here runs as the rooms' runtime roles; this one is let do nothing but read."""
    async with lab.copies("payment") as urls:
        await lab.spoil(
            urls["payment"],
            "REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public FROM payment_service",
        )
        assert (await lab.audit(**urls)).clean


async def test_transactions_that_cannot_be_seen_are_said(lab: Lab) -> None:
    database = await Database.open(lab.urls["bus"].rpartition("/")[0] + "/" + lab.urls["order"].rpartition("/")[2])
    try:
        report = await lab.audit()
    finally:
        await database.close()
    assert (report.clean, report.complete) == (True, True)
    somebody = urlsplit(lab.urls["bus"]).username
    assert report.not_seen == [f"open transactions of {somebody}: GRANT pg_read_all_stats to the audit's roles"]


async def _rows(url: str, sql: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(sql))
    finally:
        await connection.close()
