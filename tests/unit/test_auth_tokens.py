"""Access tokens and refresh tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import jwt
import pytest

from tradewind.chassis.clock import ManualClock
from tradewind.chassis.identity import MAX_TOKEN_CHARS
from tradewind.chassis.signing import TokenSigner, new_signing_key
from tradewind.services.auth.domain import MAX_EMAIL_CHARS, MAX_NAME_CHARS, ROLES, Account
from tradewind.services.auth.tokens import AccessTokens, RefreshToken

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def account(name: str = "Ada", email: str = "ada@example.test") -> Account:
    return Account(
        id="01890a5d-ac96-774b-bcce-b302099a8057", email=email, name=name, roles=ROLES, disabled=False, version=1
    )


def issue(to: Account) -> str:
    signer = TokenSigner("k1", [new_signing_key("k1")])
    return AccessTokens(signer, ManualClock(NOW)).issue(to, "s1")


def test_an_access_token_says_who_for_ten_minutes() -> None:
    claims = jwt.decode(issue(account()), options={"verify_signature": False})
    assert claims.pop("jti")
    assert claims == {
        "iss": "tradewind",
        "aud": "tradewind",
        "sub": "01890a5d-ac96-774b-bcce-b302099a8057",
        "email": "ada@example.test",
        "name": "Ada",
        "roles": ["customer", "support", "finance", "analyst", "admin"],
        "sid": "s1",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 600,
    }


@pytest.mark.parametrize("letter", ["a", "é", "\U0001f600", '"'])
def test_the_longest_account_fits_into_a_token(letter: str) -> None:
    token = issue(account(name=letter * MAX_NAME_CHARS, email="a" * MAX_EMAIL_CHARS))
    assert len(token) < MAX_TOKEN_CHARS


def test_a_refresh_token_comes_back_from_its_text() -> None:
    token = RefreshToken.new()
    assert RefreshToken.parse(token.reveal()) == token
    assert (len(token.lineage), len(token.secret)) == (32, 32)
    assert token.reveal().startswith("twr_")


def test_a_successor_is_of_the_same_lineage_and_another_secret() -> None:
    token = RefreshToken.new()
    successor = token.successor()
    assert successor.lineage_hash == token.lineage_hash
    assert successor.secret_hash != token.secret_hash
    assert RefreshToken.new().lineage_hash != token.lineage_hash


def test_no_two_tokens_are_alike_and_none_is_shown() -> None:
    assert len({RefreshToken.new().reveal() for _ in range(100)}) == 100
    token = RefreshToken.new()
    assert token.reveal() not in repr(token)
    assert repr(token.secret) not in repr(token)


@pytest.mark.parametrize(
    "text", ["", "twr_", "twr_" + "A" * 85, "twr_" + "A" * 87, "twr_" + "=" * 86, "A" * 90, "twr_" + "é" * 86]
)
def test_what_is_no_refresh_token(text: str) -> None:
    assert RefreshToken.parse(text) is None
    assert RefreshToken.parse(RefreshToken.new().reveal() + "\n") is None
