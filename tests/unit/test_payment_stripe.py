"""The `stripe` adapter without a network: amounts, webhooks, what it costs where it is not used."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe as sdk

from tests import stripe_stand_in
from tests.stripe_stand_in import description
from tests.stripe_stand_in.server import sign
from tradewind.chassis.errors import Invalid
from tradewind.chassis.ids import new_id
from tradewind.chassis.third_party import ThirdPartyClient
from tradewind.contracts.money import Money
from tradewind.services.payment.providers.stripe import StripeProvider
from tradewind.services.payment.providers.stripe_amounts import NotExpressible, from_stripe, to_stripe
from tradewind.services.payment.providers.stripe_wire import Failure

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTHER_SECRET = "whsec_fedcba9876543210"


@pytest.fixture
def provider() -> StripeProvider:
    return StripeProvider(
        ThirdPartyClient("http://127.0.0.1:9", "stripe"),
        "http://127.0.0.1:9",
        api_key=stripe_stand_in.API_KEY,
        webhook_secrets=[stripe_stand_in.WEBHOOK_SECRET, OTHER_SECRET],
        return_url="https://shop.example.test/back",
        timeout_s=1.0,
    )


def event(kind: str = "payment_intent.succeeded", thing: str = "payment_intent", **metadata: str) -> bytes:
    about = description.fixture(thing) | {"metadata": metadata}
    return json.dumps(description.fixture("event") | {"type": kind, "data": {"object": about}}).encode()


def heard(provider: StripeProvider, body: bytes, header: str | None) -> Any:
    headers = {} if header is None else {"stripe-signature": header}
    return provider.read_notice(headers, body, NOW)


def test_the_sdk_speaks_the_version_that_is_described() -> None:
    assert sdk.api_version == description.version(), (
        "take the stripe-mock of that version: tests/stripe_stand_in/extract.py"
    )


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        (Money(1999, "EUR"), 1999),
        (Money(500, "JPY"), 500),
        (Money(1045, "HUF"), 1045),
        (Money(5, "ISK"), 500),
        (Money(500, "MGA"), 5),
        (Money(5120, "KWD"), 5120),
    ],
)
def test_amounts_go_and_come_back(money: Money, amount: int) -> None:
    assert to_stripe(money) == amount
    assert from_stripe(amount, money.currency) == money.amount_minor


@pytest.mark.parametrize("money", [Money(5124, "KWD"), Money(150, "MGA"), Money(500, "UGX")])
def test_what_stripe_cannot_say_is_not_rounded(money: Money) -> None:
    with pytest.raises(NotExpressible):
        to_stripe(money)


def test_half_a_krona_is_not_read_as_one() -> None:
    with pytest.raises(NotExpressible):
        from_stripe(550, "ISK")


def test_why_a_card_was_refused() -> None:
    assert Failure(code="card_declined", decline_code="insufficient_funds").reason == "insufficient_funds"
    assert Failure(code="card_declined", decline_code="generic_decline").reason == "card_declined"
    assert Failure(code="card_declined", decline_code="stolen_card").reason == "card_declined"
    assert Failure(code="incorrect_cvc").reason == "incorrect_cvc"
    assert Failure(code="payment_intent_authentication_failure").reason == "authentication_failed"
    assert Failure().reason == "card_declined"


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        ("payment_intent.succeeded", "payment_intent"),
        ("payment_intent.payment_failed", "payment_intent"),
        ("payment_intent.amount_capturable_updated", "payment_intent"),
        ("charge.refunded", "charge"),
    ],
)
def test_a_webhook_names_its_attempt(provider: StripeProvider, kind: str, thing: str) -> None:
    attempt_id = new_id()
    body = event(kind, thing, attempt_id=attempt_id)
    notice = heard(provider, body, sign(body, at=NOW.timestamp()))
    assert (notice.type, notice.attempt_id, notice.refund_id) == (kind, attempt_id, None)


@pytest.mark.parametrize("kind", ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"])
def test_a_webhook_names_its_refund(provider: StripeProvider, kind: str) -> None:
    refund_id = new_id()
    body = event(kind, "refund", refund_id=refund_id, attempt_id=new_id())
    notice = heard(provider, body, sign(body, at=NOW.timestamp()))
    assert (notice.attempt_id, notice.refund_id) == (None, refund_id)


@pytest.mark.parametrize(
    "body",
    [
        event("payment_intent.created", attempt_id=new_id()),
        event("payment_intent.succeeded", attempt_id="none of ours"),
        event("payment_intent.succeeded"),
        event("customer.created", "event"),
        json.dumps(description.fixture("event")).encode(),
    ],
    ids=["made", "no id", "no metadata", "customer", "plan"],
)
def test_a_webhook_about_nothing_of_ours_is_taken_and_asks_nothing(provider: StripeProvider, body: bytes) -> None:
    notice = heard(provider, body, sign(body, at=NOW.timestamp()))
    assert (notice.attempt_id, notice.refund_id) == (None, None)


def test_a_webhook_is_believed_under_any_secret_and_any_signature(provider: StripeProvider) -> None:
    body = event()
    for secrets in [(OTHER_SECRET,), ("whsec_gone", OTHER_SECRET), (stripe_stand_in.WEBHOOK_SECRET, "whsec_new")]:
        assert heard(provider, body, sign(body, *secrets, at=NOW.timestamp()))
    for at in (NOW - timedelta(seconds=299), NOW + timedelta(seconds=299)):
        assert heard(provider, body, sign(body, at=at.timestamp()))


def _forged() -> dict[str, tuple[bytes, str | None]]:
    body, now = event(), NOW.timestamp()
    good = sign(body, at=now)
    stamp, signature = good.split(",")
    old = sign(body, at=now - 301)
    old_stamp, old_signature = old.split(",")
    wide = old_stamp.removeprefix("t=").translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    return {
        "none": (body, None),
        "empty": (body, ""),
        "nonsense": (body, "nonsense"),
        "time only": (body, stamp),
        "signature only": (body, signature),
        "another body": (body + b" ", good),
        "another secret": (body, sign(body, "whsec_somebody_elses", at=now)),
        "no text": (body, f"{stamp},v1=é"),
        "another scheme": (body, f"{stamp},v0={signature.removeprefix('v1=')}"),
        "old": (body, old),
        "from the future": (body, sign(body, at=now + 301)),
        # A recorded webhook with a fresh time beside the one it was signed with.
        "two times": (body, f"{old_stamp},{old_signature},{stamp}"),
        "two times, a blank": (body, f"{old_stamp},{old_signature}, {stamp}"),
        "two times, one in other digits": (body, f"t={wide},{old_signature},{stamp}"),
        "a body that is no text": (b"\xff\xfe", sign(b"\xff\xfe", at=now)),
        "long": (body, good + "," * 2000),
    }


@pytest.mark.parametrize(("body", "header"), _forged().values(), ids=_forged())
def test_a_forged_or_old_webhook_is_refused(provider: StripeProvider, body: bytes, header: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        heard(provider, body, header)
    assert (refused.value.code, refused.value.status) == ("signature-invalid", 400)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id": "evt_1", "type": "a b", "data": {"object": {}}}', b"{"])
def test_a_signed_webhook_that_is_no_event_is_malformed(provider: StripeProvider, body: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        heard(provider, body, sign(body, at=NOW.timestamp()))
    assert (refused.value.code, refused.value.status) == ("malformed-json", 400)


def test_who_does_not_use_stripe_does_not_pay_for_its_sdk() -> None:
    code = "import sys, tradewind.services.payment.app; sys.exit('stripe' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_stand_in_refuses_what_the_description_does_not_know() -> None:
    create = description.find_operation("POST", "/v1/payment_intents")
    good = [("amount", "1"), ("currency", "eur"), ("metadata[a]", "b"), ("payment_method_types[0]", "card")]
    assert description.read_body(create, good) == {
        "amount": 1,
        "currency": "eur",
        "metadata": {"a": "b"},
        "payment_method_types": ["card"],
    }
    for wrong, code in [
        ([("amount", "1")], "parameter_missing"),
        ([*good, ("colour", "red")], "parameter_unknown"),
        ([("amount", "1.5"), ("currency", "eur")], "parameter_invalid_integer"),
        ([*good, ("confirm", "yes")], "parameter_invalid_boolean"),
        ([*good, ("capture_method", "later")], "parameter_invalid_string"),
        ([*good, ("payment_method_options[card][colour]", "red")], "parameter_unknown"),
    ]:
        with pytest.raises(description.Refused) as refused:
            description.read_body(create, wrong)
        assert refused.value.code == code
    with pytest.raises(description.NoSuchOperation):
        description.find_operation("POST", "/v1/charges")
