"""What is true of accounts: which address, password and name are acceptable, and who may change whose rights."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Literal, get_args

import msgspec

from tradewind.chassis.errors import Conflict, FieldError, Forbidden, Invalid

Role = Literal["customer", "support", "finance", "analyst", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

MAX_EMAIL_CHARS = 254
MIN_PASSWORD_CHARS = 8
MAX_PASSWORD_CHARS = 128
MAX_NAME_CHARS = 200
MAX_SESSIONS = 100

# RFC 5321's dot-string and host name. Quoted local parts, address literals and bare host names are left out, as everywhere.
_LOCAL = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"(?=.{{1,64}}@){_LOCAL}(?:\.{_LOCAL})*@(?:{_LABEL}\.)+{_LABEL}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# What everybody tries first, from the published lists of the most common passwords, as far as they have 8 characters.
_COMMON_PASSWORDS = frozenset(
    """
    password password1 password12 password123 passw0rd p@ssw0rd p@ssword 12345678 123456789 1234567890 0123456789
    87654321 987654321 12341234 11223344 123123123 12344321 abcd1234 abc12345 abcdefgh qwertyui qwertyuiop qwerty12
    qwerty123 1qaz2wsx 1q2w3e4r 1q2w3e4r5t zaq12wsx asdfghjk asdfghjkl iloveyou sunshine princess football baseball
    superman trustno1 letmein1 welcome1 welcome123 admin123 administrator changeme changeme1
    """.split()  # noqa: SIM905 - a table of words
)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can sign in. `version` counts what auth-service has told the others about the account."""

    id: str
    email: str
    name: str
    roles: tuple[Role, ...]
    disabled: bool
    version: int

    @property
    def is_admin(self) -> bool:
        """Whether the account counts as an administrator: a disabled one does not."""
        return "admin" in self.roles and not self.disabled

    def has(self, role: Role) -> bool:
        """Whether the account may act in `role` now."""
        return not self.disabled and (role in self.roles or "admin" in self.roles)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a password is checked against. `password_version` counts the passwords the account has had."""

    account: Account
    password_hash: str
    password_version: int

    def __repr__(self) -> str:
        return f"Credentials(account={self.account.id!r})"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One place where somebody is signed in, until `expires_at` at the latest."""

    id: str
    user_id: str
    user_agent: str
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime


def find_email(text: str) -> str | None:
    """The form of an address that is unique, trimmed and in lower case, or None where `text` is no address."""
    email = text.strip(" \t")
    # ASCII first: lower() turns some other letters into ASCII ones, and two addresses into one.
    if not email.isascii() or len(email) > MAX_EMAIL_CHARS:
        return None
    email = email.lower()
    return email if _EMAIL.fullmatch(email) else None


def normal_email(text: str) -> str:
    """The form of an address that is unique. Only the syntax is checked.

    Raises:
        Invalid: 422 at `/email`.
    """
    email = find_email(text)
    if email is None:
        raise _invalid("/email", "email", "This is no e-mail address.")
    return email


def normal_name(text: str) -> str:
    """A name without blanks around it, 1 to 200 characters in one line.

    Raises:
        Invalid: 422 at `/name`.
    """
    name = text.strip()
    if not 1 <= len(name) <= MAX_NAME_CHARS or _CONTROL.search(name):
        raise _invalid("/name", "name", f"A name is 1 to {MAX_NAME_CHARS} characters in one line.")
    return name


def check_password(password: str, email: str, *, pointer: str = "/password") -> None:
    """Refuse a password that is too short, too long, or the first thing somebody would try for `email`.

    Length counts, composition rules do not: https://pages.nist.gov/800-63-4/sp800-63b.html section 3.1.1.2.

    Raises:
        Invalid: 422 at `pointer`.
    """
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        detail = f"A password is {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters long."
        raise _invalid(pointer, "password-length", detail)
    simple = password.strip().lower()
    guesses = {email, email.partition("@")[0]}
    if simple in _COMMON_PASSWORDS or simple in guesses or len(set(simple)) <= 1:
        raise _invalid(pointer, "password-common", "This password is among the first that anybody would try.")


def normal_roles(roles: Iterable[Role]) -> tuple[Role, ...]:
    """Each role once, in the order of `ROLES`."""
    wanted = set(roles)
    return tuple(role for role in ROLES if role in wanted)


def check_may_set_roles(actor: Account | None) -> None:
    """Only who is an administrator now sets roles, whatever the token still says.

    Raises:
        Forbidden: `role-required`.
    """
    if actor is None or not actor.has("admin"):
        raise Forbidden("role-required", "Only an administrator sets roles.")


def check_may_disable(actor: Account | None, target: Account) -> None:
    """Support disables and enables users, but administrators only an administrator.

    Raises:
        Forbidden: `role-required`.
    """
    if actor is None or not actor.has("support"):
        raise Forbidden("role-required", "Only support disables or enables users.")
    if "admin" in target.roles and not actor.has("admin"):
        raise Forbidden("role-required", "Only an administrator disables or enables an administrator.")


def check_admin_remains(admins: Collection[str], target: Account) -> None:
    """Refuse what would take its last administrator (`admins`: the ids of all) from the platform.

    Raises:
        Conflict: 409 `last-admin`.
    """
    if target.is_admin and not set(admins) - {target.id}:
        raise Conflict("last-admin", "This is the last administrator; make another one first.")


def _invalid(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid("invalid", detail, errors=[FieldError(pointer, code, detail)])
