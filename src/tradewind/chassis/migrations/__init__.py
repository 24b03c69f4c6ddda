"""Database migrations, by Alembic, written as SQL.

Every database has two histories: the chassis' own tables (`versions/` beside this file, version table `chassis_version`) and the
room's (`services/<room>/migrations/versions/`, version table `room_version`). Both run in one transaction under an
advisory lock, so two migrators at once, or a killed one, leave a database at one version or the other, never between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

CHASSIS_VERSIONS = Path(__file__).parent
CONNECT_TIMEOUT_S = 10.0
_LOCK_KEY = 7_241_998_001


class History:
    """One line of migrations: where its versions are and which table remembers how far a database is."""

    def __init__(self, folder: Path, version_table: str) -> None:
        self.folder = folder
        self.version_table = version_table


def histories(room_migrations: Path | None) -> Sequence[History]:
    """The chassis' history, then the room's."""
    found = [History(CHASSIS_VERSIONS, "chassis_version")]
    if room_migrations is not None:
        found.append(History(room_migrations, "room_version"))
    return found


async def migrate(url: str, room_migrations: Path | None, *, check: bool = False) -> list[str]:
    """Bring the database at `url` to the newest version; with `check`, change nothing.

    Returns the revisions that were applied (or, with `check`, that are missing).

    Raises:
        OSError, asyncpg.PostgresError: the database cannot be reached, or a migration failed (nothing was applied).
    """

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, statement_cache_size=0)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        applied = await connection.run_sync(_run, histories(room_migrations), check)
        if not check:
            await connection.commit()
    await engine.dispose()
    return applied


def _run(connection: Connection, lines: Sequence[History], check: bool) -> list[str]:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    applied: list[str] = []
    for line in lines:
        applied += _advance(connection, line, check)
    return applied


def _advance(connection: Connection, line: History, check: bool) -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(line.folder))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    found: list[str] = []

    def steps(revision: tuple[str, ...] | None, _context: object) -> list[object]:
        missing = script._upgrade_revs("head", revision)  # type: ignore[arg-type]  # noqa: SLF001 - as alembic.command does
        found.extend(step.revision.revision for step in missing)
        return [] if check else list(missing)

    with EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(
            connection=connection,
            version_table=line.version_table,
            transactional_ddl=True,
            transaction_per_migration=False,
        )
        environment.run_migrations()
    return found


def migrate_blocking(url: str, room_migrations: Path | None, *, check: bool = False) -> list[str]:
    """`migrate` for callers without an event loop."""
    return asyncio.run(migrate(url, room_migrations, check=check))
