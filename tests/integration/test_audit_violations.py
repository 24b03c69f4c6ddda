"""Each invariant is violated, in several ways, in a copy of databases that hold a true history: and exactly it is named.

Where a database forbids what is planted, by a constraint, a trigger or a right, that is taken away first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import asyncpg
import pytest

from tests.integration.audit_lab import Lab
from tests.integration.audit_lab import lab as lab  # noqa: PLC0414 - a fixture
from tradewind.audit import run
from tradewind.audit.checks import CHECKS
from tradewind.audit.invariants import INVARIANTS, Limits, Violation


class Plant(NamedTuple):
    """What is planted: statements for each room, and the invariant and subject that the audit must name for it."""

    name: str
    invariant: str
    subject: str
    statements: Mapping[str, tuple[str, ...]]


def plant(name: str, invariant: str, subject: str, **statements: str | tuple[str, ...]) -> Plant:
    """Statements by room."""
    given = {room: (each,) if isinstance(each, str) else each for room, each in statements.items()}
    return Plant(name, invariant, subject, given)


BY_LEDGER_ID = "ledger transaction"
LEDGER_OPEN = "ALTER TABLE ledger_transaction DISABLE TRIGGER USER"
UNSEALED = ("ALTER TABLE ledger_seal DISABLE TRIGGER USER", "DELETE FROM ledger_seal")
ANY_ROW = """
    ALTER TABLE ledger_transaction DROP CONSTRAINT ledger_rules;
    ALTER TABLE ledger_transaction DROP CONSTRAINT ledger_transaction_check;
    ALTER TABLE ledger_transaction DROP CONSTRAINT ledger_transaction_amount_minor_check
"""
ADJUSTMENT = """
    INSERT INTO ledger_transaction (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
    VALUES ('adjustment', gen_random_uuid(), '{confirmed_payment}', %s, 'EUR')
"""

LEDGER = [
    plant(
        "a transaction gives to the account it takes from",
        "I1",
        BY_LEDGER_ID,
        payment=(
            LEDGER_OPEN,
            ANY_ROW,
            "UPDATE ledger_transaction SET credit_account = debit_account WHERE payment_id = '{confirmed_payment}'",
        ),
    ),
    plant(
        "a sealed transaction was moved to another day",
        "I1",
        "ledger seal",
        payment=(
            LEDGER_OPEN,
            "UPDATE ledger_transaction SET booked_at = booked_at + interval '1 day' WHERE payment_id = '{confirmed_payment}'",
        ),
    ),
    plant(
        "a transaction takes less than nothing",
        "I1",
        BY_LEDGER_ID,
        payment=(ANY_ROW, ADJUSTMENT % "'psp_clearing', 'sales', -5"),
    ),
    plant(
        "an account that is not on the chart",
        "I1",
        BY_LEDGER_ID,
        payment=(ANY_ROW, ADJUSTMENT % "'slush', 'sales', 5"),
    ),
    plant(
        "the two entries of a transaction differ by a cent",
        "I1",
        BY_LEDGER_ID,
        payment="""
            CREATE OR REPLACE VIEW ledger_entry AS
            SELECT id AS transaction_id, 1::smallint AS line, cause, cause_id, payment_id, debit_account AS account,
                amount_minor, currency, booked_at FROM ledger_transaction
            UNION ALL
            SELECT id, 2::smallint, cause, cause_id, payment_id, credit_account,
                CASE WHEN payment_id = '{confirmed_payment}' THEN 1 ELSE 0 END - amount_minor, currency, booked_at
            FROM ledger_transaction
        """,
    ),
]

ONE_MORE_PAYMENT = """
    INSERT INTO payment (id, order_id, customer_id, amount_minor, currency, payment_method, status, captured_minor, refunded_minor)
    SELECT '{nobody}', order_id, customer_id, amount_minor, currency, payment_method, 'refunded', captured_minor, captured_minor
    FROM payment WHERE id = '{confirmed_payment}';
    INSERT INTO refund (id, payment_id, amount_minor, reason, requested_by, status)
    SELECT gen_random_uuid(), id, captured_minor, 'test', 'test', 'succeeded' FROM payment WHERE id = '{nobody}'
"""
PAYMENTS = [
    plant(
        "two captured payments of one order",
        "I2",
        "order {confirmed}",
        payment=("ALTER TABLE payment DROP CONSTRAINT payment_order_id_key", ONE_MORE_PAYMENT),
    ),
    plant(
        "captured more than was authorized",
        "I2",
        "payment {confirmed_payment}",
        payment=(
            "ALTER TABLE payment DROP CONSTRAINT payment_check",
            "UPDATE payment SET amount_minor = captured_minor - 1 WHERE id = '{confirmed_payment}'",
        ),
    ),
    plant(
        "more is being refunded than was captured",
        "I2",
        "payment {confirmed_payment}",
        payment=(
            "ALTER TABLE payment DROP CONSTRAINT payment_check1",
            "UPDATE payment SET refunding_minor = captured_minor + 1 WHERE id = '{confirmed_payment}'",
            """
            INSERT INTO refund (id, payment_id, amount_minor, reason, requested_by)
            SELECT gen_random_uuid(), id, refunding_minor, 'test', 'test' FROM payment WHERE id = '{confirmed_payment}'
            """,
        ),
    ),
    plant(
        "a capture is booked twice, and the analytics believe it",
        "I2",
        "payment {confirmed_payment}",
        payment="""
            INSERT INTO ledger_transaction
                (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
            SELECT cause, gen_random_uuid(), payment_id, debit_account, credit_account, amount_minor, currency
            FROM ledger_transaction WHERE payment_id = '{confirmed_payment}' AND cause = 'capture'
        """,
        analytics="""
            INSERT INTO money_fact (event_id, order_id, kind, currency, amount_minor, moved_at)
            SELECT gen_random_uuid(), order_id, kind, currency, amount_minor, moved_at FROM money_fact
            WHERE order_id = '{confirmed}'
        """,
    ),
    plant(
        "a wrong charge that was undone is still in suspense",
        "I2",
        "payment {misquoted_payment}",
        payment=(LEDGER_OPEN, "DELETE FROM ledger_transaction WHERE cause = 'mismatch_undone'", *UNSEALED),
    ),
]

KEYS = [
    plant(
        "an order that a key answered with is gone",
        "I3",
        "order key",
        order="""
            UPDATE idempotency_key
            SET body = convert_to(replace(convert_from(body, 'UTF8'), '{confirmed}', '{nobody}'), 'UTF8')
            WHERE convert_from(body, 'UTF8') LIKE '%{confirmed}%'
        """,
    ),
    plant(
        "a product that a key answered with is gone",
        "I3",
        "order key",
        order="""
            UPDATE idempotency_key SET body = convert_to(replace(convert_from(body, 'UTF8'), '"cap"', '"hat"'), 'UTF8')
            WHERE convert_from(body, 'UTF8') LIKE '%"stock":105%'
        """,
    ),
    plant(
        "a refund that a key answered with is gone",
        "I3",
        "payment key",
        payment="""
            UPDATE idempotency_key
            SET body = convert_to(replace(convert_from(body, 'UTF8'), '{partly_refund}', '{nobody}'), 'UTF8')
        """,
    ),
    plant(
        "a key was committed without its answer",
        "I3",
        "user key k-1",
        user="INSERT INTO idempotency_key (subject, key, fingerprint) VALUES ('somebody', 'k-1', '')",
    ),
]

FORGET = "DELETE FROM inbox WHERE event_id = '{%s}'"
EVENTS = [
    *(
        plant(
            f"{room} has not taken an event",
            "I4",
            f"event {{{event}}}",
            **{room: FORGET % event},
        )
        for room, event in (
            ("payment", "confirmed_placed_event"),
            ("order", "partly_refunded_event"),
            ("notification", "bob_registered_event"),
            ("analytics", "declined_cancelled_event"),
            ("user", "bob_disabled_event"),
            ("auth", "ada_profile_changed_event"),
        )
    ),
    plant(
        "an event was taken twice",
        "I4",
        "event {confirmed_captured_event}",
        order=(
            "ALTER TABLE inbox DROP CONSTRAINT inbox_pkey",
            "INSERT INTO inbox SELECT * FROM inbox WHERE event_id = '{confirmed_captured_event}'",
        ),
    ),
    *(
        plant(f"{name} is gone from the log", "I4", subject, bus=f"DELETE FROM log WHERE event_id = '{{{event}}}'")
        for name, event, subject in (
            ("an order's first event", "confirmed_placed_event", "order {confirmed}"),
            ("an order's last event", "delivered_delivered_event", "order {delivered}"),
            ("an order's event in between", "delivered_confirmed_event", "order {delivered}"),
            ("a payment's only event", "confirmed_captured_event", "payment {confirmed_payment}"),
            ("an account's event", "bob_disabled_event", "auth {bob}"),
            ("a profile's event", "ada_profile_changed_event", "user {ada}"),
        )
    ),
    plant(
        "a message that belongs to nobody is gone from the log",
        "I4",
        "user/",
        bus='DELETE FROM log WHERE (topic, "offset") IN (SELECT topic, max("offset") FROM log WHERE topic = \'user\' GROUP BY 1)',
    ),
    *(
        plant(
            f"the last event of {subject} is gone from the outbox",
            "I4",
            subject,
            **{room: f"UPDATE {table} SET {column} = {column} + 1 WHERE id = '{{{id_}}}'"},
        )
        for room, table, column, id_, subject in (
            ("order", "orders", "event_version", "confirmed", "order {confirmed}"),
            ("payment", "payment", "version", "confirmed_payment", "payment {confirmed_payment}"),
            ("auth", "account", "version", "ada", "auth {ada}"),
            ("user", "profile", "event_version", "bob", "user {bob}"),
        )
    ),
]

EFFECTS = [
    plant(
        "the analytics took a confirmation, and forgot it",
        "I4",
        "order {confirmed}",
        analytics="UPDATE order_fact SET confirmed_at = NULL WHERE order_id = '{confirmed}'",
    ),
    plant(
        "the analytics do not know an order",
        "I4",
        "order {waiting}",
        analytics=(
            "DELETE FROM line_fact WHERE order_id = '{waiting}'",
            "DELETE FROM order_fact WHERE order_id = '{waiting}'",
        ),
    ),
    plant(
        "an order took the news of its payment, and forgot them",
        "I4",
        "payment {declined_payment}",
        order="UPDATE orders SET payment_status = 'processing' WHERE id = '{declined}'",
    ),
    plant(
        "a profile is behind its account",
        "I4",
        "account {bob}",
        user="UPDATE profile SET account_version = account_version - 1 WHERE id = '{bob}'",
    ),
    plant("an account has no profile", "I4", "account {bob}", user="DELETE FROM profile WHERE id = '{bob}'"),
]

NOTICES = [
    plant(
        "a customer was not told, and the inbox says it was",
        "I4",
        "event {confirmed_confirmed_event}",
        notification=(
            "DELETE FROM mail WHERE notification_id = (SELECT id FROM notification WHERE event_id = '{confirmed_confirmed_event}')",
            "DELETE FROM notification WHERE event_id = '{confirmed_confirmed_event}'",
        ),
    ),
    plant(
        "a customer was told twice of one event",
        "I4",
        "event {confirmed_confirmed_event}",
        notification=(
            "ALTER TABLE notification DROP CONSTRAINT notification_event_id_key",
            """
            WITH again AS (
                INSERT INTO notification (id, event_id, user_id, kind, title, body, data)
                SELECT gen_random_uuid(), event_id, user_id, kind, title, body, data FROM notification
                WHERE event_id = '{confirmed_confirmed_event}' RETURNING id
            ) INSERT INTO mail (notification_id, message_id, sent_at) SELECT id, '<' || id || '@x.example>', now() FROM again
            """,
        ),
    ),
]

# One more message, that all who read its topic have passed.
ONE_MORE = """
    INSERT INTO log (topic, partition, "offset", key, event_id, type, value)
    SELECT l.topic, l.partition, p.head, %s, gen_random_uuid(), 'order.noted.v1', l.value
    FROM log l JOIN partition p USING (topic, partition) WHERE l.event_id = '{confirmed_placed_event}';
    UPDATE partition p SET head = head + 1 FROM log l
    WHERE l.event_id = '{confirmed_placed_event}' AND p.topic = l.topic AND p.partition = l.partition;
    UPDATE consumer_offset o SET next_offset = next_offset + 1 FROM log l
    WHERE l.event_id = '{confirmed_placed_event}' AND o.topic = l.topic AND o.partition = l.partition
"""
RENUMBERED = """
    UPDATE log SET value = convert_to(replace(convert_from(value, 'UTF8'), '"aggregateversion":2', '"aggregateversion":3'), 'UTF8')
    WHERE event_id = '{confirmed_confirmed_event}'
"""
VERSIONS = [
    plant("a version was left out", "I5", "order {confirmed}", bus=RENUMBERED),
    plant("two events have one version", "I5", "order {confirmed}", bus=ONE_MORE % "l.key"),
    plant("an event of an order that is not there", "I5", "order {nobody}", bus=ONE_MORE % "'{nobody}'"),
    plant(
        "an order went back behind what it told",
        "I5",
        "order {delivered}",
        order="UPDATE orders SET event_version = event_version - 1 WHERE id = '{delivered}'",
    ),
    plant(
        "a payment went back behind what it told",
        "I5",
        "payment {partly_payment}",
        payment="UPDATE payment SET version = version - 1 WHERE id = '{partly_payment}'",
    ),
    plant(
        "an account went back behind what it told",
        "I5",
        "auth {bob}",
        auth="UPDATE account SET version = version - 1 WHERE id = '{bob}'",
        user="UPDATE profile SET account_version = account_version - 1 WHERE id = '{bob}'",
    ),
    plant(
        "a profile went back behind what it told",
        "I5",
        "user {ada}",
        user="UPDATE profile SET event_version = event_version - 1 WHERE id = '{ada}'",
    ),
]

STOCK = [
    plant("a piece is gone", "I6", "sku mug", order="UPDATE stock SET available = available - 1 WHERE sku = 'mug'"),
    plant(
        "a piece is reserved by nobody",
        "I6",
        "sku cap",
        order="UPDATE stock SET reserved = reserved + 1 WHERE sku = 'cap'",
    ),
    plant("a sale is forgotten", "I6", "sku cap", order="UPDATE stock SET sold = sold - 1 WHERE sku = 'cap'"),
    plant(
        "less than nothing is available, by the journal too",
        "I6",
        "sku mug",
        order=(
            "ALTER TABLE stock DROP CONSTRAINT stock_available_check",
            "INSERT INTO stock_movement (sku, kind, quantity, at) SELECT sku, 'delta', -available - 1, now() FROM stock WHERE sku = 'mug'",
            "UPDATE stock SET available = -1 WHERE sku = 'mug'",
        ),
    ),
    plant("a product has no stock", "I6", "sku odd", order="DELETE FROM stock WHERE sku = 'odd'"),
]

MAILS = [
    plant(
        "two notifications share a Message-ID",
        "I7",
        "message <same@tradewind.example>",
        notification=(
            "ALTER TABLE mail DROP CONSTRAINT mail_message_id_key",
            """
            UPDATE mail SET message_id = '<same@tradewind.example>'
            WHERE notification_id IN (SELECT notification_id FROM mail ORDER BY 1 LIMIT 2)
            """,
        ),
    ),
    plant(
        "a notification has two Message-IDs",
        "I7",
        "notification ",
        notification=(
            "ALTER TABLE mail DROP CONSTRAINT mail_pkey",
            """
            INSERT INTO mail (notification_id, message_id, sent_at)
            SELECT notification_id, '<again@tradewind.example>', now() FROM mail ORDER BY 1 LIMIT 1
            """,
        ),
    ),
    plant(
        "a notification has none",
        "I7",
        "notification ",
        notification="DELETE FROM mail WHERE notification_id = (SELECT notification_id FROM mail ORDER BY 1 LIMIT 1)",
    ),
]

FIGURES = [
    plant(
        "the analytics are a cent short",
        "I8",
        "order {confirmed}",
        analytics="UPDATE money_fact SET amount_minor = amount_minor - 1 WHERE order_id = '{confirmed}'",
    ),
    plant(
        "the analytics missed a refund",
        "I8",
        "order {partly}",
        analytics="DELETE FROM money_fact WHERE order_id = '{partly}' AND kind = 'refunded'",
    ),
    plant(
        "the analytics count a capture twice",
        "I8",
        "order {confirmed}",
        analytics="""
            INSERT INTO money_fact SELECT gen_random_uuid(), order_id, kind, currency, amount_minor, moved_at
            FROM money_fact WHERE order_id = '{confirmed}'
        """,
    ),
    plant(
        "the analytics count in another currency",
        "I8",
        "order {confirmed}",
        analytics="UPDATE money_fact SET currency = 'USD' WHERE order_id = '{confirmed}'",
    ),
    plant(
        "the analytics know an order that the ledger does not",
        "I8",
        "order {nobody}",
        analytics="INSERT INTO money_fact VALUES (gen_random_uuid(), '{nobody}', 'captured', 'EUR', 5, now())",
    ),
]

HOUR_AGO = "now() - interval '1 hour'"
WAITING = [
    plant(
        "an order is pending past its deadline",
        "I9",
        "order: order {waiting}",
        order=f"UPDATE orders SET deadline_at = {HOUR_AGO} WHERE id = '{{waiting}}'",
    ),
    plant(
        "nobody finds out what became of a charge",
        "I9",
        "payment: the charge of payment {waiting_payment}",
        payment=f"""
            UPDATE attempt SET status = 'processing', created_at = {HOUR_AGO} WHERE payment_id = '{{waiting_payment}}'
        """,
    ),
    plant(
        "nobody finds out what became of a refund",
        "I9",
        "payment: refund {nobody}",
        payment=(
            "UPDATE payment SET refunding_minor = 5 WHERE id = '{confirmed_payment}'",
            f"""
            INSERT INTO refund (id, payment_id, amount_minor, reason, requested_by, created_at)
            VALUES ('{{nobody}}', '{{confirmed_payment}}', 5, 'test', 'test', {HOUR_AGO})
            """,
        ),
    ),
    plant(
        "nobody takes up what is due",
        "I9",
        "payment: attempt {let_go_attempt}",
        payment=f"UPDATE attempt SET due_at = {HOUR_AGO} WHERE id = '{{let_go_attempt}}'",
    ),
    plant(
        "a customer is waited for whose order is cancelled",
        "I9",
        "payment: payment {waiting_payment}",
        payment=f"UPDATE payment SET order_cancelled = true, updated_at = {HOUR_AGO} WHERE id = '{{waiting_payment}}'",
    ),
    plant(
        "a mail is not sent",
        "I9",
        "notification: the mail of notification ",
        notification=f"""
            UPDATE mail SET sent_at = NULL WHERE notification_id = (SELECT min(notification_id::text)::uuid FROM mail);
            UPDATE notification SET created_at = {HOUR_AGO}
        """,
    ),
    plant(
        "an event is not published",
        "I9",
        "order: event {nobody}",
        order=f"""
            INSERT INTO outbox (shard, event_id, topic, key, type, version, envelope, created_at)
            VALUES (0, '{{nobody}}', 'order', '{{confirmed}}', 'order.noted.v1', 3, '', {HOUR_AGO})
        """,
    ),
    plant(
        "an event is not read",
        "I9",
        "analytics-service on order/",
        bus=f"""
            UPDATE log SET appended_at = {HOUR_AGO};
            UPDATE consumer_offset o SET next_offset = l."offset" FROM log l
            WHERE l.event_id = '{{delivered_delivered_event}}' AND consumer_group = 'analytics-service'
                AND o.topic = l.topic AND o.partition = l.partition
        """,
    ),
    plant(
        "a dead letter is not replayed",
        "I9",
        "notification: the replay of dead letter ",
        notification=f"UPDATE dead_letter SET state = 'replay', changed_at = {HOUR_AGO} WHERE state = 'dropped'",
    ),
    plant(
        "what waited behind a dead letter is not handled",
        "I9",
        "notification: nothing is before dead letter ",
        notification=f"""
            UPDATE dead_letter SET changed_at = {HOUR_AGO};
            UPDATE dead_letter SET state = 'behind' WHERE state = 'dropped'
        """,
    ),
]

DEAD_LETTERS = [
    plant(
        f"a dead letter of {room}",
        "I10",
        "event ",
        **{room: "UPDATE dead_letter SET state = 'dead' WHERE state = 'dropped'"},
    )
    for room in ("notification", "auth")
]

GOODS_BACK = """
    INSERT INTO stock_movement (sku, kind, quantity, order_id, at)
    SELECT sku, 'return', quantity, order_id, now() FROM stock_movement WHERE order_id = '{confirmed}' AND kind = 'sell';
    UPDATE stock s SET available = available + quantity, sold = sold - quantity FROM stock_movement m
    WHERE m.sku = s.sku AND m.order_id = '{confirmed}' AND m.kind = 'sell'
"""
ORDERS = [
    plant(
        "a cancelled order holds money",
        "I11",
        "order {confirmed}",
        order=(GOODS_BACK, "UPDATE orders SET status = 'cancelled' WHERE id = '{confirmed}'"),
        analytics="UPDATE order_fact SET cancelled_at = now() WHERE order_id = '{confirmed}'",
    ),
    plant(
        "a cancelled order holds goods",
        "I11",
        "order {returned}",
        order="""
            INSERT INTO stock_movement (sku, kind, quantity, order_id, at) VALUES ('mug', 'reserve', 1, '{returned}', now());
            UPDATE stock SET available = available - 1, reserved = reserved + 1 WHERE sku = 'mug'
        """,
    ),
    plant("a paid order has no goods", "I11", "order {confirmed}", order=GOODS_BACK),
    plant(
        "an order costs a cent more than was captured",
        "I11",
        "order {confirmed}",
        order="UPDATE orders SET total_minor = total_minor + 1 WHERE id = '{confirmed}'",
    ),
    plant(
        "an order says it was refunded, and was not",
        "I11",
        "order {confirmed}",
        order="UPDATE orders SET refunded_minor = 1 WHERE id = '{confirmed}'",
    ),
    plant(
        "an order does not know that it was refunded",
        "I11",
        "order {late}",
        order="UPDATE orders SET refunded_minor = 0 WHERE id = '{late}'",
    ),
    plant(
        "an order is paid in another currency",
        "I11",
        "order {confirmed}",
        order="UPDATE orders SET currency = 'USD' WHERE id = '{confirmed}'",
    ),
    plant(
        "a refund was not granted",
        "I11",
        "payment {late_payment}",
        payment="DELETE FROM refund WHERE payment_id = '{late_payment}'",
    ),
]

PLANTS = [
    *LEDGER, *PAYMENTS, *KEYS, *EVENTS, *EFFECTS, *NOTICES, *VERSIONS, *STOCK, *MAILS, *FIGURES, *WAITING, *DEAD_LETTERS, *ORDERS,
]  # fmt: skip


async def test_a_true_history_is_clean(lab: Lab) -> None:
    report = await lab.audit()
    assert (report.clean, report.complete, report.settled) == (True, True, True)
    assert (report.violations, report.waits_for, report.not_seen) == ([], [], [])
    assert report.checked == dict.fromkeys(INVARIANTS, 0)


@pytest.mark.parametrize("planted", PLANTS, ids=lambda planted: f"{planted.invariant}-{planted.name}".replace(" ", "_"))
async def test_what_is_planted_is_named_and_nothing_else(lab: Lab, planted: Plant) -> None:
    async with lab.copies(*planted.statements) as urls:
        for room, statements in planted.statements.items():
            await lab.spoil(urls[room], *statements)
        report = await lab.audit(**urls)
    assert not report.clean
    subject = planted.subject.format(**lab.story)
    assert {violation.invariant for violation in report.violations} == {planted.invariant}, report.violations
    assert any(violation.subject.startswith(subject) for violation in report.violations), report.violations
    assert all(violation.detail and violation.next_step for violation in report.violations)
    assert report.checked[planted.invariant] == len(report.violations)


NEEDED = {
    "I1 ledger": "an account that is not on the chart",
    "I1 seals": "a sealed transaction was moved to another day",
    "I2 payments": "captured more than was authorized",
    "I3 idempotency keys": "an order that a key answered with is gone",
    "I4 inboxes": "payment has not taken an event",
    "I4 notifications": "a customer was not told, and the inbox says it was",
    "I4, I5 versions": "a version was left out",
    "I4 effects": "the analytics took a confirmation, and forgot it",
    "I6 stock": "a piece is gone",
    "I7 Message-IDs": "a notification has two Message-IDs",
    "I8 analytics": "the analytics are a cent short",
    "I9 limits": "a mail is not sent",
    "I9 unread events": "an event is not read",
    "I10 dead letters": "a dead letter of auth",
    "I11 money": "an order is paid in another currency",
    "I11 refunds": "a refund was not granted",
    "I11 goods": "a cancelled order holds goods",
}
"""For each check a violation that it alone finds. The provider's charges have a file of their own."""


def test_every_check_is_needed_for_something() -> None:
    assert {name for name, _ in CHECKS} == NEEDED.keys() | {"I2 provider's charges"}


@pytest.mark.parametrize("name", NEEDED)
async def test_without_its_check_a_violation_goes_unseen(lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """So that a check which returns nothing turns the test of that violation red."""
    planted = next(each for each in PLANTS if each.name == NEEDED[name])
    async with lab.copies(*planted.statements) as urls:
        for room, statements in planted.statements.items():
            await lab.spoil(urls[room], *statements)
        assert not (await lab.audit(**urls)).clean
        monkeypatch.setattr(run, "CHECKS", [each for each in CHECKS if each[0] != name])
        assert (await lab.audit(**urls)).violations == []


def test_every_invariant_is_planted() -> None:
    assert {planted.invariant for planted in PLANTS} == set(INVARIANTS)


async def test_a_transaction_that_stays_open_is_named(lab: Lab) -> None:
    async with lab.copies("order") as urls:
        session = await asyncpg.connect(urls["order"], server_settings={"application_name": "somebody"})
        try:
            await session.execute("BEGIN; SELECT 1")
            assert (await lab.audit(**urls)).clean

            async def named() -> list[Violation]:
                return (await lab.audit(limits=Limits(transaction_s=0.2), **urls)).violations

            async with asyncio.timeout(10):
                while not (violations := await named()):
                    await asyncio.sleep(0.05)
        finally:
            await session.close()
    assert [violation.invariant for violation in violations] == ["I9"]
    assert "idle in transaction" in violations[0].subject
