"""Whether a database is at the newest version, found out without Alembic: importing it costs a second of a warm start.

The version tables are compared with the `revision` and `down_revision` lines of the migration files; see
`tradewind.chassis.migrations`, which applies them.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from tradewind.stack.rooms import migrations_of

_ASSIGNED = re.compile(r'^(revision|down_revision)\s*(?::[^=]+)?=\s*(?:"([^"]+)"|None)', re.MULTILINE)
_CONNECT_TIMEOUT_S = 10.0


async def is_up_to_date(url: str, room: str) -> bool:
    """Whether the room's database has every migration of the chassis and of the room.

    Raises OSError or asyncpg.PostgresError when it cannot be reached.
    """
    connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S, statement_cache_size=0)
    try:
        for table, newest in _newest(room).items():
            if await connection.fetchval("SELECT to_regclass($1)", table) is None:
                return False
            rows = await connection.fetch(f'SELECT version_num FROM "{table}"')  # noqa: S608
            if [row[0] for row in rows] != [newest]:
                return False
        return True
    finally:
        await connection.close()


def _newest(room: str) -> Mapping[str, str]:
    """Version table -> newest revision."""
    chassis = importlib.util.find_spec("tradewind.chassis.migrations")
    folders = {"chassis_version": Path(next(iter(chassis.submodule_search_locations or [])))} if chassis else {}
    if (own := migrations_of(room)) is not None:
        folders["room_version"] = own
    return {table: newest_revision(folder / "versions") for table, folder in folders.items()}


def newest_revision(versions: Path) -> str:
    """The revision that no other one builds on. Raises ValueError when there is none, or more than one."""
    revisions: set[str] = set()
    built_on: set[str] = set()
    for path in versions.glob("[0-9]*.py"):
        said = dict(_ASSIGNED.findall(path.read_text(encoding="utf-8")))
        revisions.add(said["revision"])
        built_on.add(said.get("down_revision", ""))
    heads = revisions - built_on
    if len(heads) != 1:
        raise ValueError(f"{versions} has {len(heads)} newest revisions: {', '.join(sorted(heads))}")
    return heads.pop()
