"""What user-service remembers: all its SQL.

Locks are taken in one order: the profile, then its addresses.
"""

# ruff: noqa: S608 - only the column lists below are formatted into statements

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tradewind.chassis.postgres import Record, Statements, Tx
from tradewind.services.user.domain.address import Address, AddressFields
from tradewind.services.user.domain.profile import Profile

_PROFILE = "id, email, name, roles, locale, phone, disabled, registered_at, version, event_version, account_version"
_ADDRESS = "id, user_id, name, line1, line2, city, postal_code, region, country, is_default, version"


async def find_profile(db: Statements, user_id: str) -> Profile | None:
    """The profile, as it is now."""
    row = await db.row(f"SELECT {_PROFILE} FROM profile WHERE id = $1", user_id)
    return _profile(row) if row else None


async def lock_profile(tx: Tx, claimed: Profile) -> Profile:
    """The user's profile, held until the transaction ends; made as `claimed` where no event has brought it yet."""
    await tx.execute(
        "INSERT INTO profile (id, email, name, roles) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
        claimed.id, claimed.email, claimed.name, list(claimed.roles),
    )  # fmt: skip
    row = await tx.row(f"SELECT {_PROFILE} FROM profile WHERE id = $1 FOR NO KEY UPDATE", claimed.id)
    if row is None:
        raise LookupError("it was inserted by the statement before, or there already")
    return _profile(row)


async def save_profile(tx: Tx, profile: Profile) -> None:
    """Write what a user may change, under the lock of `lock_profile`."""
    await tx.execute(
        "UPDATE profile SET name = $2, locale = $3, phone = $4, version = $5, event_version = $6 WHERE id = $1",
        profile.id, profile.name, profile.locale, profile.phone, profile.version, profile.event_version,
    )  # fmt: skip


async def search_profiles(db: Statements, text: str, *, before: str | None, limit: int) -> list[Profile]:
    """Up to `limit` profiles with `text` in their address or name, in any case, the newest first."""
    rows = await db.rows(
        f"SELECT {_PROFILE} FROM profile WHERE ($1 = '' OR search LIKE '%' || lower($2) || '%')"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        text, _literal(text), before, limit,
    )  # fmt: skip
    return [_profile(row) for row in rows]


async def put_account(
    tx: Tx, *, user_id: str, email: str, name: str, roles: Sequence[str], registered_at: datetime, account_version: int
) -> None:
    """Take over a new account. A name that the user has set here already stays."""
    await tx.execute(
        "INSERT INTO profile AS p (id, email, name, roles, registered_at, account_version)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET email = $2, roles = $4, registered_at = $5,"
        " name = CASE WHEN p.event_version = 0 THEN $3 ELSE p.name END, account_version = $6,"
        " version = p.version + (ROW(p.email, p.roles) IS DISTINCT FROM ROW($2, $4))::int"
        " WHERE p.account_version < $6",
        user_id, email, name, list(roles), registered_at, account_version,
    )  # fmt: skip


async def set_roles(tx: Tx, user_id: str, roles: Sequence[str], account_version: int) -> bool:
    """Take over the roles unless something later is known; False where the user is not."""
    return await _hit(
        tx,
        "WITH changed AS (UPDATE profile SET roles = $2, version = version + 1, account_version = $3"
        " WHERE id = $1 AND account_version < $3) SELECT true FROM profile WHERE id = $1",
        user_id,
        list(roles),
        account_version,
    )


async def set_disabled(tx: Tx, user_id: str, *, disabled: bool, account_version: int) -> bool:
    """Take over the flag unless something later is known; False where the user is not."""
    return await _hit(
        tx,
        "WITH changed AS (UPDATE profile SET disabled = $2, account_version = $3"
        " WHERE id = $1 AND account_version < $3) SELECT true FROM profile WHERE id = $1",
        user_id,
        disabled,
        account_version,
    )


async def list_addresses(db: Statements, user_id: str, *, after: str | None, limit: int) -> list[Address]:
    """Up to `limit` addresses of a user, the oldest first."""
    rows = await db.rows(
        f"SELECT {_ADDRESS} FROM address WHERE user_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
        user_id, after, limit,
    )  # fmt: skip
    return [_address(row) for row in rows]


async def count_addresses(tx: Tx, user_id: str) -> int:
    """How many addresses the user has."""
    return int(await tx.value("SELECT count(*) FROM address WHERE user_id = $1", user_id))


async def find_address(db: Statements, user_id: str, address_id: str) -> Address | None:
    """One address of this user."""
    row = await db.row(f"SELECT {_ADDRESS} FROM address WHERE id = $1 AND user_id = $2", address_id, user_id)
    return _address(row) if row else None


async def add_address(tx: Tx, address: Address) -> None:
    """Insert an address, under the profile's lock."""
    await tx.execute(
        f"INSERT INTO address ({_ADDRESS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        address.id, address.user_id, *_columns(address.fields), address.version,
    )  # fmt: skip


async def save_address(tx: Tx, address: Address) -> None:
    """Write an address, under the profile's lock."""
    await tx.execute(
        "UPDATE address SET name = $2, line1 = $3, line2 = $4, city = $5, postal_code = $6, region = $7, country = $8,"
        " is_default = $9, version = $10 WHERE id = $1",
        address.id, *_columns(address.fields), address.version,
    )  # fmt: skip


async def clear_default_address(tx: Tx, user_id: str, *, but: str) -> None:
    """Make no address the default, unless it is `but`."""
    await tx.execute(
        "UPDATE address SET is_default = false, version = version + 1 WHERE user_id = $1 AND is_default AND id <> $2",
        user_id, but,
    )  # fmt: skip


async def delete_address(tx: Tx, address_id: str) -> None:
    """Delete an address, under the profile's lock."""
    await tx.execute("DELETE FROM address WHERE id = $1", address_id)


async def _hit(tx: Tx, sql: str, *args: object) -> bool:
    return bool(await tx.value(sql, *args))


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _columns(fields: AddressFields) -> tuple[str | bool | None, ...]:
    return (
        fields.name, fields.line1, fields.line2, fields.city, fields.postal_code, fields.region, fields.country,
        fields.is_default,
    )  # fmt: skip


def _profile(row: Record) -> Profile:
    return Profile(
        id=str(row["id"]),
        email=row["email"],
        name=row["name"],
        roles=tuple(row["roles"]),
        locale=row["locale"],
        phone=row["phone"],
        disabled=row["disabled"],
        registered_at=row["registered_at"],
        version=row["version"],
        event_version=row["event_version"],
        account_version=row["account_version"],
    )


def _address(row: Record) -> Address:
    return Address(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        fields=AddressFields(
            name=row["name"],
            line1=row["line1"],
            line2=row["line2"],
            city=row["city"],
            postal_code=row["postal_code"],
            region=row["region"],
            country=row["country"],
            is_default=row["is_default"],
        ),
        version=row["version"],
    )
