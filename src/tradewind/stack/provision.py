"""Databases and roles: each room owns one database, in which its running service may not change the schema.

For room `order`: database `order_service` owned by `order_owner` (migrations run as it) and used by `order_service`, which
gets SELECT, INSERT, UPDATE and DELETE by default privileges, so that a migration can revoke them (the ledger does).
Everything here may be repeated; passwords are set anew each time.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class RoomAccess:
    """The two DSNs of a room: `url` for the running service, `owner_url` for its migrations."""

    url: str
    owner_url: str


def url_for(admin_url: str, user: str, password: str, database: str) -> str:
    """The admin's DSN (its hosts and parameters, however many) for another user and database."""
    parts = urlsplit(admin_url)
    hosts = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{user}:{password}@{hosts}", f"/{database}", parts.query, ""))


def room_access(
    admin_url: str,
    room: str,
    *,
    password: str,
    owner_password: str,
    database: str | None = None,
    login: str | None = None,
) -> RoomAccess:
    """The DSNs that `create_room` makes, without touching the server. `login`: the role, where it is not `ROOM_service`."""
    database = database or f"{room}_service"
    return RoomAccess(
        url=url_for(admin_url, login or f"{room}_service", password, database),
        owner_url=url_for(admin_url, f"{room}_owner", owner_password, database),
    )


async def create_room(
    admin_url: str,
    room: str,
    *,
    password: str | None = None,
    owner_password: str | None = None,
    database: str | None = None,
) -> RoomAccess:
    """Make the room's database and roles, or bring them up to date.

    Passwords default to random ones, the database's name to the room's (`order_service`); tests want many of a room.
    """
    password = password or secrets.token_urlsafe(24)
    owner_password = owner_password or secrets.token_urlsafe(24)
    service, owner = f"{room}_service", f"{room}_owner"
    async with _connected(admin_url) as connection:
        await _role(connection, owner, owner_password)
        await _role(connection, service, password)
        name = database or service
        await _database(connection, name, owner)
        await connection.execute(f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
        # Temporary tables are the audit's, for what is on a bus without a database of its own.
        await connection.execute(f'GRANT CONNECT, TEMPORARY ON DATABASE "{name}" TO "{service}"')
    access = room_access(admin_url, room, password=password, owner_password=owner_password, database=name)
    async with _connected(access.owner_url) as connection:
        await connection.execute(
            f"""
            GRANT USAGE ON SCHEMA public TO "{service}";
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{service}";
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO "{service}";
            """
        )
    return access


def other_login(room: str, login: str) -> str:
    """The role that takes over from `login` when the password is changed; the two take turns."""
    first = f"{room}_service"
    return f"{first}_b" if login == first else first


async def open_login(admin_url: str, room: str, login: str, password: str) -> None:
    """Let the running service of `room` sign in as `login` with `password`; it may do what `ROOM_service` may."""
    async with _connected(admin_url) as connection:
        await _role(connection, login, password)
        if login != f"{room}_service":
            await connection.execute(f'GRANT "{room}_service" TO "{login}"')


async def close_login(admin_url: str, login: str) -> None:
    """Nobody signs in as `login` any more; connections that are open stay. Its rights stay, others may inherit them."""
    async with _connected(admin_url) as connection:
        await connection.execute(f'ALTER ROLE "{login}" PASSWORD NULL')


async def count_connections(admin_url: str, login: str) -> int:
    """How many connections are open as `login`."""
    async with _connected(admin_url) as connection:
        found: int = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", login)
    return found


async def create_bus(admin_url: str, *, password: str | None = None) -> str:
    """Make the event bus: database `bus`, owned by the role `bus`. Return its DSN."""
    password = password or secrets.token_urlsafe(24)
    async with _connected(admin_url) as connection:
        await _role(connection, "bus", password)
        await _database(connection, "bus", "bus")
        await connection.execute("REVOKE CONNECT, TEMPORARY ON DATABASE bus FROM PUBLIC")
    return url_for(admin_url, "bus", password, "bus")


async def create_database(admin_url: str, name: str) -> None:
    """Make an empty database owned by the admin, if it is not there."""
    async with _connected(admin_url) as connection:
        await _database(connection, name, None)


async def count_databases(admin_url: str, names: Sequence[str]) -> int:
    """How many of the databases `names` there are."""
    async with _connected(admin_url) as connection:
        found: int = await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = ANY($1)", list(names))
    return found


async def watch_statements(admin_url: str) -> None:
    """Turn `pg_stat_statements` on where the server has it loaded."""
    async with _connected(admin_url) as connection:
        loaded = await connection.fetchval("SELECT current_setting('shared_preload_libraries')")
        if "pg_stat_statements" in str(loaded):
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    import asyncpg  # here: the supervisor imports this module for the DSNs only and stays light

    connection: Connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


async def _role(connection: Connection, name: str, password: str) -> None:
    known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if known else "CREATE"
    quoted = password.replace("'", "''")
    await connection.execute(f"{verb} ROLE \"{name}\" LOGIN PASSWORD '{quoted}'")


async def _database(connection: Connection, name: str, owner: str | None) -> None:
    if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        return
    owned = f'OWNER "{owner}"' if owner else ""
    if owner:
        # A managed PostgreSQL's admin is no superuser: it may give a database away only to a role it belongs to.
        await connection.execute(f'GRANT "{owner}" TO CURRENT_USER')
    await connection.execute(f'CREATE DATABASE "{name}" {owned} TEMPLATE template0')
