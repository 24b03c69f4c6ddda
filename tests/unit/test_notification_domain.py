"""Which event tells whom what."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from tradewind.chassis.events import Event
from tradewind.contracts import auth, order, payment
from tradewind.contracts.money import Money
from tradewind.services.notification import domain
from tradewind.services.notification.store import Mail
from tradewind.services.notification.templates import FOLDER, Letter, Templates

EUR = Money(3_999, "EUR")
ORDER = {"order_id": "o", "number": "TW-1", "customer_id": "u"}
LINE = order.OrderLine(sku="mug", name="Mug", quantity=2, unit_price=Money(1_000, "EUR"), total=Money(2_000, "EUR"))
MONEY = {"payment_id": "p", "order_id": "o", "customer_id": "u", "amount": EUR}

TOLD: list[tuple[Event, str, str]] = [
    (auth.UserRegistered(user_id="u", email="a@example.test", name="Ada", roles=[]), "welcome", "Ada"),
    (order.OrderConfirmed(**ORDER, payment_id="p", total=EUR, lines=[LINE]), "order_confirmed", "EUR 39.99"),
    (
        order.OrderCancelled(**ORDER, payment_id="p", total=EUR, reason="declined", was="pending"),
        "order_cancelled",
        "declined",
    ),
    (
        order.OrderCancelled(**ORDER, payment_id="p", total=EUR, reason="customer", was="confirmed"),
        "order_cancelled",
        "goes back",
    ),
    (order.OrderShipped(**ORDER, carrier="DHL", tracking="X1"), "order_shipped", "X1"),
    (order.OrderDelivered(**ORDER), "order_delivered", "Enjoy"),
    (
        payment.PaymentRefunded(**MONEY, refund_id="r", refunded=EUR, captured=EUR, reason="x"),
        "payment_refunded",
        "EUR 39.99",
    ),
    (payment.PaymentRequiresAction(**MONEY, action_url="https://bank.example/1"), "payment_action", "EUR 39.99"),
]


def opened(letter: Letter) -> EmailMessage:
    """What a mail program makes of it."""
    assert letter.content.isascii(), "a server without 8BITMIME must take it"
    assert b"\n" not in letter.content.replace(b"\r\n", b""), "lines end in CRLF"
    return email.message_from_bytes(letter.content, policy=email.policy.default)


@pytest.mark.parametrize(("event", "kind", "said"), TOLD, ids=[f"{type(e).__name__}-{k}" for e, k, _ in TOLD])
def test_events_customers_hear_of(event: Event, kind: str, said: str) -> None:
    notice = domain.notice_of(event)
    assert notice is not None
    assert notice.kind == kind
    assert notice.user_id == "u"
    assert said in notice.body


@pytest.mark.parametrize(("event", "kind", "said"), TOLD, ids=[f"{type(e).__name__}-{k}" for e, k, _ in TOLD])
def test_every_kind_renders_as_a_mail(event: Event, kind: str, said: str) -> None:
    notice = domain.notice_of(event)
    assert notice is not None
    mail = Mail(
        notification_id="n", message_id="<n@shop.example>", kind=kind, title=notice.title, body=notice.body,
        data=notice.data, email="a@example.test", name="Ada", attempts=1, created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    letter = Templates().letter(mail, "Shop <orders@shop.example>")
    message = opened(letter)
    assert (letter.sender, letter.recipient) == ("orders@shop.example", "a@example.test")
    assert (message["From"], message["To"]) == ("Shop <orders@shop.example>", "Ada <a@example.test>")
    text = message.get_body(("plain",))
    assert text is not None
    assert "Ada" in text.get_content()
    assert message["Message-ID"] == "<n@shop.example>"
    assert message["Subject"] == notice.title


def test_no_template_is_left_over() -> None:
    assert {Path(name).stem for name in FOLDER.glob("*.txt")} == {kind for _, kind, _ in TOLD}


def test_what_nobody_needs_to_hear() -> None:
    placed = order.OrderPlaced(**ORDER, payment_id="p", payment_method="pm_card_visa", total=EUR, lines=[LINE])
    assert domain.notice_of(placed) is None


def test_markup_in_a_name_is_shown_not_obeyed() -> None:
    mail = Mail(
        notification_id="n", message_id="<n@x>", kind="welcome", title="Hi", body="Hello <script>", data={},
        email="a@example.test", name="<b>Eve</b>\r\nBcc: all@example.test", attempts=1, created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    message = opened(Templates().letter(mail, "orders@shop.example"))
    page = message.get_body(("html",))
    assert page is not None
    assert "<script>" not in page.get_content()
    assert message["Bcc"] is None


def test_names_and_titles_of_any_script_arrive_as_they_were_written() -> None:
    mail = Mail(
        notification_id="n", message_id="<n@x>", kind="welcome", title="Willkommen, Jörg\r\nBcc: all@example.test",
        body="Grüße, 你好. " * 100, data={}, email="j@example.test", name='Jörg "J" Müller', attempts=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    message = opened(Templates().letter(mail, "Lädchen <orders@shop.example>"))
    assert message["To"].addresses[0].display_name == 'Jörg "J" Müller'
    assert message["From"].addresses[0].display_name == "Lädchen"
    assert message["Subject"] == "Willkommen, Jörg Bcc: all@example.test"
    assert message["Bcc"] is None
    assert {part.get_content_type() for part in message.iter_parts()} == {"text/plain", "text/html"}
    for kind in ("plain", "html"):
        body = message.get_body((kind,))
        assert body is not None
        assert "Grüße, 你好. Grüße" in body.get_content()


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(1_999, "EUR"), "EUR 19.99"),
        (Money(5, "USD"), "USD 0.05"),
        (Money(-250, "EUR"), "EUR -2.50"),
        (Money(2_000, "JPY"), "JPY 2000"),
        (Money(1_234, "KWD"), "KWD 1.234"),
    ],
)
def test_money_as_people_write_it(money: Money, text: str) -> None:
    assert domain.money_text(money) == text


def test_tries_double_up_to_ten_minutes() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    waits = [(domain.next_try(now, attempts) - now).total_seconds() for attempts in (1, 2, 3, 9, 10, 100)]
    assert waits == [2, 4, 8, 512, 600, 600]


def test_the_message_id_is_stable_and_ends_in_our_domain() -> None:
    assert domain.message_id("n1", "Shop <orders@shop.example>") == "<n1@shop.example>"
