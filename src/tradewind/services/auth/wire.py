"""What goes over auth-service's HTTP door, in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from tradewind.services.auth.domain import (
    MAX_EMAIL_CHARS,
    MAX_NAME_CHARS,
    MAX_PASSWORD_CHARS,
    MIN_PASSWORD_CHARS,
    ROLES,
    Account,
    Role,
    Session,
)
from tradewind.services.auth.tokens import ACCESS_TTL_S
from tradewind.services.auth.usecases import SignedIn

Email = Annotated[
    str, msgspec.Meta(max_length=MAX_EMAIL_CHARS, examples=["ada@example.test"], extra_json_schema={"format": "email"})
]
NewPassword = Annotated[
    str,
    msgspec.Meta(
        min_length=MIN_PASSWORD_CHARS,
        max_length=MAX_PASSWORD_CHARS,
        description="Any characters; the most common passwords are refused.",
        examples=["correct horse battery staple"],
        extra_json_schema={"format": "password"},
    ),
]
Password = Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD_CHARS, extra_json_schema={"format": "password"})]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS, examples=["Ada Lovelace"])]


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new customer."""

    email: Email
    password: NewPassword
    name: Name


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who has an account."""

    email: Email
    password: Password


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The latest refresh token of a session."""

    refresh_token: Annotated[str, msgspec.Meta(max_length=512)]


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password as it is and as it shall be."""

    current_password: Password
    new_password: NewPassword


class RoleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All roles a user shall have. `admin` implies the others."""

    roles: Annotated[list[Role], msgspec.Meta(min_length=1, max_length=len(ROLES))]


class SignedInUser(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed in."""

    id: str
    email: str
    name: str
    roles: tuple[Role, ...]


class TokensView(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a session. A refresh token can be used once: each refresh gives the next one."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 - RFC 6750's name of the type
    expires_in: Annotated[int, msgspec.Meta(description="Seconds until the access token expires.")] = ACCESS_TTL_S
    session_id: str
    user: SignedInUser


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """One place where the caller is signed in; `current` is the one that asks."""

    id: str
    user_agent: str
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    current: bool


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as support sees it."""

    id: str
    email: str
    name: str
    roles: tuple[Role, ...]
    disabled: bool


class JwksView(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


def tokens_view(signed_in: SignedIn) -> TokensView:
    """A session's tokens for their owner."""
    account = signed_in.account
    return TokensView(
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        session_id=signed_in.session_id,
        user=SignedInUser(id=account.id, email=account.email, name=account.name, roles=account.roles),
    )


def session_view(session: Session, *, asking: str) -> SessionView:
    """A session in the list of its owner, whose present session is `asking`."""
    return SessionView(
        id=session.id,
        user_agent=session.user_agent,
        created_at=session.created_at,
        refreshed_at=session.refreshed_at,
        expires_at=session.expires_at,
        current=session.id == asking,
    )


def account_view(account: Account) -> AccountView:
    """An account for support."""
    return msgspec.convert(account, AccountView, from_attributes=True)
