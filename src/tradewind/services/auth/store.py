"""What auth-service remembers: all its SQL.

Locks are taken in one order: administrators by id, then another account, then sessions.
"""

# ruff: noqa: S608 - only the column lists below are formatted into statements

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.postgres import Record, Statements, Tx
from tradewind.services.auth.domain import Account, Credentials, Role, Session
from tradewind.services.auth.tokens import RefreshToken

_ACCOUNT = "a.id, a.email, a.name, a.roles, a.disabled, a.version"
_SESSION = "id, user_id, user_agent, created_at, refreshed_at, expires_at"


class Refreshed(msgspec.Struct, frozen=True):
    """A session that has a new refresh token, and whose it is."""

    session_id: str
    account: Account


async def find_account(db: Statements, user_id: str) -> Account | None:
    """The account, as it is now."""
    row = await db.row(f"SELECT {_ACCOUNT} FROM account a WHERE a.id = $1", user_id)
    return _account(row) if row else None


async def find_credentials_by_email(db: Statements, email: str) -> Credentials | None:
    """What to check a login against; `email` in its normal form."""
    return _credentials(
        await db.row(f"SELECT {_ACCOUNT}, a.password_hash, a.password_version FROM account a WHERE a.email = $1", email)
    )


async def find_credentials(db: Statements, user_id: str) -> Credentials | None:
    """What to check the present password of a signed-in user against."""
    return _credentials(
        await db.row(f"SELECT {_ACCOUNT}, a.password_hash, a.password_version FROM account a WHERE a.id = $1", user_id)
    )


async def add_account(tx: Tx, account: Account, password_hash: str, now: datetime) -> bool:
    """Insert a new account; False when the address is taken, also by somebody who registers at this moment."""
    added = await tx.value(
        "INSERT INTO account (id, email, name, roles, version, password_hash, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (email) DO NOTHING RETURNING true",
        account.id, account.email, account.name, list(account.roles), account.version, password_hash, now,
    )  # fmt: skip
    return bool(added)


async def lock_admins(tx: Tx) -> list[str]:
    """Ids of all administrators, who stay what they are until the transaction ends.

    Two transactions that each take the rights of one administrator meet here, so the second sees what the first did.
    """
    rows = await tx.rows(
        "SELECT id FROM account WHERE 'admin' = ANY (roles) AND NOT disabled ORDER BY id FOR NO KEY UPDATE"
    )
    return [str(row["id"]) for row in rows]


async def lock_account(tx: Tx, user_id: str) -> Account | None:
    """The account, held until the transaction ends."""
    row = await tx.row(f"SELECT {_ACCOUNT} FROM account a WHERE a.id = $1 FOR NO KEY UPDATE", user_id)
    return _account(row) if row else None


async def set_roles(tx: Tx, user_id: str, roles: Sequence[Role]) -> Account:
    """Set the roles and raise the version."""
    return await _changed(
        tx,
        f"UPDATE account a SET roles = $2, version = version + 1 WHERE a.id = $1 RETURNING {_ACCOUNT}",
        user_id,
        list(roles),
    )


async def set_disabled(tx: Tx, user_id: str, *, disabled: bool) -> Account:
    """Set or clear the flag and raise the version."""
    return await _changed(
        tx,
        f"UPDATE account a SET disabled = $2, version = version + 1 WHERE a.id = $1 RETURNING {_ACCOUNT}",
        user_id,
        disabled,
    )


async def set_name(tx: Tx, user_id: str, name: str, profile_version: int) -> None:
    """Take over the name that the user's profile has in its version `profile_version`, unless a later one is known."""
    await tx.execute(
        "UPDATE account SET name = $2, profile_version = $3 WHERE id = $1 AND profile_version < $3",
        user_id, name, profile_version,
    )  # fmt: skip


async def set_password(tx: Tx, credentials: Credentials, password_hash: str) -> bool:
    """Replace the password that `credentials` hold; False when it is not the present one any more."""
    changed = await tx.value(
        "UPDATE account SET password_hash = $3, password_version = password_version + 1"
        " WHERE id = $1 AND password_version = $2 AND NOT disabled RETURNING true",
        credentials.account.id, credentials.password_version, password_hash,
    )  # fmt: skip
    return bool(changed)


async def rehash(db: Statements, credentials: Credentials, password_hash: str) -> None:
    """Store another hash of the same password, unless the password was changed meanwhile."""
    await db.execute(
        "UPDATE account SET password_hash = $3 WHERE id = $1 AND password_version = $2",
        credentials.account.id, credentials.password_version, password_hash,
    )  # fmt: skip


async def open_session(tx: Tx, session: Session, token: RefreshToken, password_version: int) -> bool:
    """Insert a session; False when the account was disabled or its password changed since it was checked.

    The lock on the account makes a login that runs beside a disabling come before it, and end with it, or not at all.
    """
    opened = await tx.value(
        "INSERT INTO session (id, user_id, user_agent, created_at, refreshed_at, expires_at, lineage_hash, secret_hash)"
        " SELECT $1::uuid, a.id, $3, $4, $5, $6, $7, $8 FROM account a"
        " WHERE a.id = $2 AND NOT a.disabled AND a.password_version = $9 FOR SHARE RETURNING true",
        session.id, session.user_id, session.user_agent, session.created_at, session.refreshed_at, session.expires_at,
        token.lineage_hash, token.secret_hash, password_version,
    )  # fmt: skip
    return bool(opened)


async def trim_sessions(tx: Tx, user_id: str, most: int) -> None:
    """End the oldest sessions of a user beyond `most`."""
    await tx.execute(
        "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE user_id = $1 ORDER BY id DESC OFFSET $2)",
        user_id, most,
    )  # fmt: skip


async def refresh_session(
    db: Statements, shown: RefreshToken, successor: RefreshToken, now: datetime
) -> Refreshed | None:
    """Replace the refresh token `shown` in one statement: of two that show the same one, one gets the session."""
    row = await db.row(
        "UPDATE session s SET secret_hash = $3, refreshed_at = $4 FROM account a"
        " WHERE s.lineage_hash = $1 AND s.secret_hash = $2 AND s.expires_at > $4 AND a.id = s.user_id AND NOT a.disabled"
        f" RETURNING s.id AS session_id, {_ACCOUNT}",
        shown.lineage_hash, shown.secret_hash, successor.secret_hash, now,
    )  # fmt: skip
    return Refreshed(str(row["session_id"]), _account(row)) if row else None


async def end_lineage(db: Statements, token: RefreshToken) -> Session | None:
    """End the session that `token` belonged to at some time, and say which it was."""
    row = await db.row(f"DELETE FROM session WHERE lineage_hash = $1 RETURNING {_SESSION}", token.lineage_hash)
    return _session(row) if row else None


async def list_sessions(
    db: Statements, user_id: str, now: datetime, *, before: str | None, limit: int
) -> list[Session]:
    """Up to `limit` live sessions of a user, the newest first, those older than the session `before`."""
    rows = await db.rows(
        f"SELECT {_SESSION} FROM session WHERE user_id = $1 AND expires_at > $2 AND ($3::uuid IS NULL OR id < $3)"
        " ORDER BY id DESC LIMIT $4",
        user_id, now, before, limit,
    )  # fmt: skip
    return [_session(row) for row in rows]


async def end_session(db: Statements, user_id: str, session_id: str) -> bool:
    """End one session of a user; False when the user has no such session."""
    ended = await db.value("DELETE FROM session WHERE id = $2 AND user_id = $1 RETURNING true", user_id, session_id)
    return bool(ended)


async def end_sessions(tx: Tx, user_id: str, *, keep: str | None = None) -> None:
    """End all sessions of a user but `keep`."""
    await tx.execute("DELETE FROM session WHERE user_id = $1 AND id IS DISTINCT FROM $2::uuid", user_id, keep)


async def delete_expired_sessions(db: Statements, now: datetime, limit: int) -> int:
    """Delete up to `limit` sessions past their time; returns how many."""
    tag = await db.execute(
        "DELETE FROM session WHERE ctid = ANY (ARRAY("
        " SELECT ctid FROM session WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2))",
        now, limit,
    )  # fmt: skip
    return int(tag.split()[-1])


async def _changed(tx: Tx, sql: str, *args: object) -> Account:
    row = await tx.row(sql, *args)
    if row is None:
        raise LookupError("the caller holds a lock on this account")
    return _account(row)


def _account(row: Record) -> Account:
    return Account(
        id=str(row["id"]),
        email=row["email"],
        name=row["name"],
        roles=tuple(row["roles"]),
        disabled=row["disabled"],
        version=row["version"],
    )


def _credentials(row: Record | None) -> Credentials | None:
    if row is None:
        return None
    return Credentials(
        account=_account(row), password_hash=row["password_hash"], password_version=row["password_version"]
    )


def _session(row: Record) -> Session:
    return Session(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        user_agent=row["user_agent"],
        created_at=row["created_at"],
        refreshed_at=row["refreshed_at"],
        expires_at=row["expires_at"],
    )
