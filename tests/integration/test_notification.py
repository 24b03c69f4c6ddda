"""notification-service on a real PostgreSQL and a real SMTP server: told once, mailed at least once, under one Message-ID."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from tests.asgi import call
from tests.conftest import RoomDatabase
from tests.cursors import IMPOSSIBLE_MOMENTS, cursor
from tests.received import received
from tradewind.chassis.breaker import Breaker
from tradewind.chassis.circuit import Circuit
from tradewind.chassis.clock import ManualClock, SystemClock
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.http.app import Doorman, build_asgi
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.postgres import Database
from tradewind.contracts.auth import UserRegistered
from tradewind.contracts.money import Money
from tradewind.contracts.order import OrderConfirmed
from tradewind.services.notification import usecases
from tradewind.services.notification.api import api
from tradewind.services.notification.clients import SmtpMailer
from tradewind.services.notification.parts import Parts
from tradewind.services.notification.templates import Templates
from tradewind.stack.ports import free_port


class Inbox(MessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message] = []
        self.refuse = 0

    def handle_message(self, message: Message) -> None:
        self.mails.append(message)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if self.refuse:
            self.refuse -= 1
            return "451 busy"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@pytest.fixture
def smtp() -> Iterator[tuple[Inbox, str]]:
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield inbox, f"smtp://127.0.0.1:{controller.port}"
    controller.stop()


@pytest_asyncio.fixture
async def parts(room_database: RoomDatabase, smtp: tuple[Inbox, str]) -> AsyncIterator[Parts]:
    access = await room_database("notification")
    database = await Database.open(access.url)
    yield Parts(
        clock=SystemClock(), database=database, mailer=SmtpMailer(smtp[1], timeout_s=5),
        templates=Templates(), wake_mail=lambda: None, mail_from="Shop <orders@shop.example>",
    )  # fmt: skip
    await database.close()


def registered(user_id: str) -> UserRegistered:
    return UserRegistered(user_id=user_id, email="ada@example.test", name="Ada", roles=["customer"])


def confirmed(user_id: str) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=new_id(), number="TW-7", customer_id=user_id, payment_id=new_id(), total=Money(500, "EUR"), lines=[]
    )


async def tell(parts: Parts, *events: Any) -> None:
    async with parts.database.transaction() as tx:
        await usecases.notify(parts, tx, [received(event) for event in events])


async def test_a_customer_is_told_by_mail_and_in_the_app(parts: Parts, smtp: tuple[Inbox, str]) -> None:
    user = new_id()
    await tell(parts, registered(user), confirmed(user))
    await usecases.send_due_mails(parts)
    assert sorted(mail["Subject"] for mail in smtp[0].mails) == ["Order TW-7 is confirmed", "Welcome"]
    assert {mail["To"] for mail in smtp[0].mails} == {"Ada <ada@example.test>"}
    listed = await usecases.list_notifications(parts, user, unread=True, before=None, limit=10)
    assert {item.kind for item in listed} == {"welcome", "order_confirmed"}


async def test_one_event_tells_once(parts: Parts, smtp: tuple[Inbox, str]) -> None:
    user = new_id()
    once = received(registered(user))
    for _ in range(2):
        async with parts.database.transaction() as tx:
            await usecases.notify(parts, tx, [once])
    await usecases.send_due_mails(parts)
    await usecases.send_due_mails(parts)
    assert len(smtp[0].mails) == 1


async def test_a_mail_waits_for_its_contact(parts: Parts, smtp: tuple[Inbox, str]) -> None:
    user = new_id()
    await tell(parts, confirmed(user))
    await usecases.send_due_mails(parts)
    assert smtp[0].mails == []
    await tell(parts, registered(user))
    await usecases.send_due_mails(parts)
    assert len(smtp[0].mails) == 2


async def test_a_refused_mail_is_tried_again_under_the_same_id_and_holds_up_no_other(
    parts: Parts, smtp: tuple[Inbox, str]
) -> None:
    user = new_id()
    smtp[0].refuse = 1
    await tell(parts, registered(user), confirmed(user))
    await usecases.send_due_mails(parts)
    assert len(smtp[0].mails) == 1
    await parts.database.execute("UPDATE mail SET due_at = now() WHERE sent_at IS NULL")
    await usecases.send_due_mails(parts)
    assert len({mail["Message-ID"] for mail in smtp[0].mails}) == 2
    assert await parts.database.value("SELECT count(*) FROM mail WHERE sent_at IS NULL") == 0


async def test_a_mail_that_was_sent_and_not_recorded_leaves_again_with_its_id(
    parts: Parts, smtp: tuple[Inbox, str]
) -> None:
    user = new_id()
    await tell(parts, registered(user))
    await usecases.send_due_mails(parts)
    await parts.database.execute("UPDATE mail SET sent_at = NULL, due_at = now()")  # as if killed before the record
    await usecases.send_due_mails(parts)
    assert [mail["Message-ID"] for mail in smtp[0].mails] == [smtp[0].mails[0]["Message-ID"]] * 2


async def test_two_senders_do_not_send_twice(parts: Parts, smtp: tuple[Inbox, str]) -> None:
    users = [new_id() for _ in range(30)]
    await tell(parts, *(registered(user) for user in users))
    await asyncio.gather(*(usecases.send_due_mails(parts) for _ in range(4)))
    assert len(smtp[0].mails) == 30


async def test_without_a_mail_server_nothing_is_lost(parts: Parts, room_database: RoomDatabase) -> None:
    away = Parts(
        clock=parts.clock, database=parts.database, mailer=SmtpMailer(f"smtp://127.0.0.1:{free_port()}", timeout_s=1),
        templates=parts.templates, wake_mail=parts.wake_mail, mail_from=parts.mail_from,
    )  # fmt: skip
    await tell(away, registered(new_id()))
    with pytest.raises(Unavailable):
        await usecases.send_due_mails(away)
    row = await parts.database.row("SELECT sent_at, attempts, due_at > now() AS later, last_error FROM mail")
    assert row is not None
    assert (row["sent_at"], row["attempts"], row["later"]) == (None, 1, True)
    assert "away" in row["last_error"]


async def test_a_mail_server_that_is_away_is_left_alone_and_no_mail_counts_it(parts: Parts) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    breaker = Breaker(window_s=60, least_calls=4, open_s=15, monotonic_s=clock.monotonic_s)
    mailer = SmtpMailer(f"smtp://127.0.0.1:{free_port()}", timeout_s=1, circuit=Circuit("smtp", Metrics(), breaker))
    away = dataclasses.replace(parts, mailer=mailer)
    await tell(away, registered(new_id()))

    async def tries() -> int:
        await parts.database.execute("UPDATE mail SET due_at = now()")
        with pytest.raises(Unavailable):
            await usecases.send_due_mails(away)
        return int(await parts.database.value("SELECT attempts FROM mail"))

    assert [await tries() for _ in range(6)] == [1, 2, 3, 4, 4, 4]
    with pytest.raises(Unavailable, match="smtp"):
        await mailer.circuit.check()
    clock.advance(16)
    assert await tries() == 5


async def test_a_mail_server_that_accepts_and_then_says_nothing_is_given_up_in_time(parts: Parts) -> None:
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    mailer = SmtpMailer(f"smtp://127.0.0.1:{port}", timeout_s=0.2)
    await tell(parts, registered(new_id()))
    async with asyncio.timeout(10), silent:
        with pytest.raises(Unavailable, match="away"):
            await usecases.send_due_mails(dataclasses.replace(parts, mailer=mailer))
    assert mailer.circuit.breaker.failures_in_a_row == 1


class Verifier:
    async def verify(self, token: str) -> Caller:
        return Caller(subject=token, email="", name="", roles=frozenset(), session_id="", token=token)


async def test_notifications_are_read_by_their_owner_only(parts: Parts) -> None:
    user, other = new_id(), new_id()
    await tell(parts, *(confirmed(user) for _ in range(3)))
    app = build_asgi(api, parts, Doorman(Verifier(), parts.database, Metrics()))
    mine = {"authorization": f"Bearer {user}"}
    first = (await call(app, "GET", "/v1/notifications?limit=2", headers=mine)).json
    rest = (await call(app, "GET", f"/v1/notifications?cursor={first['next_cursor']}", headers=mine)).json
    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    path = f"/v1/notifications/{first['items'][0]['id']}/read"
    assert (await call(app, "POST", path, headers={"authorization": f"Bearer {other}"})).status == 404
    read = await call(app, "POST", path, headers=mine)
    again = await call(app, "POST", path, headers=mine)
    assert read.json["read_at"] == again.json["read_at"] is not None
    unread = (await call(app, "GET", "/v1/notifications?unread=true", headers=mine)).json["items"]
    assert len(unread) == 2


@pytest.mark.parametrize(
    "position", [*([moment, new_id()] for moment in IMPOSSIBLE_MOMENTS), ["2026-01-01T00:00:00Z", "x"]]
)
async def test_a_position_that_no_page_gave_out_is_refused(parts: Parts, position: list[object]) -> None:
    app = build_asgi(api, parts, Doorman(Verifier(), parts.database, Metrics()))
    path = f"/v1/notifications?cursor={cursor(position)}"
    refused = await call(app, "GET", path, headers={"authorization": f"Bearer {new_id()}"})
    assert (refused.status, refused.json["code"]) == (400, "cursor-invalid")
