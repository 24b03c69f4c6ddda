"""What has to be there before the rooms start, made by one short process: databases and roles, migrations, signing keys.

`python -m tradewind.stack.prepare`, run by the supervisor as soon as PostgreSQL answers. Doing it again is harmless.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from tradewind.chassis.transport.postgres.schema import ensure_schema
from tradewind.stack import provision
from tradewind.stack.gate import wait_for_turn
from tradewind.stack.kept_secrets import Secrets
from tradewind.stack.rooms import migrations_of, rooms_with_database
from tradewind.stack.state import State
from tradewind.stack.up_to_date import is_up_to_date

PATIENCE_S = 20.0
RETRY_S = 0.25


async def prepare(state: State, admin_url: str, rooms: Sequence[str], *, bus: bool = True) -> None:
    """Make everything; prints a line for each migration that was applied. Without `bus` the events travel elsewhere."""
    if not (keys := state.folder / "signing-keys.json").exists():
        from tradewind.stack.signing_keys import make_signing_keys

        make_signing_keys(keys)
    secrets = state.secrets()
    if not await _provisioned(admin_url, secrets, rooms, bus=bus):
        for room in rooms:
            await provision.create_room(
                admin_url,
                room,
                password=secrets.get(f"{room}_service"),
                owner_password=secrets.get(f"{room}_owner"),
            )
            _say(f"{room}: database and roles are there")
        await provision.watch_statements(admin_url)
        if bus:
            await provision.create_bus(admin_url, password=secrets.get("bus"))
    for room in rooms:
        owner_url = provision.room_access(
            admin_url, room, password=secrets.get(f"{room}_service"), owner_password=secrets.get(f"{room}_owner")
        ).owner_url
        if not await is_up_to_date(owner_url, room):
            for revision in await _migrate(owner_url, room):
                _say(f"{room}: applied {revision}")
    if bus and (steps := await ensure_schema(provision.url_for(admin_url, "bus", secrets.get("bus"), "bus"))):
        _say(f"bus: applied {steps} steps")


async def _provisioned(admin_url: str, secrets: Secrets, rooms: Sequence[str], *, bus: bool) -> bool:
    """Whether all databases are there with our passwords. The last one that is made tells for all."""
    names = [*(f"{room}_service" for room in rooms), *(["bus"] if bus else [])]
    last = names[-1]
    if await provision.count_databases(admin_url, names) < len(names):
        return False
    try:
        door = await asyncpg.connect(provision.url_for(admin_url, last, secrets.get(last), last), timeout=5)
    except asyncpg.InvalidPasswordError:
        return False
    await door.close()
    return True


async def _migrate(owner_url: str, room: str) -> list[str]:
    from tradewind.chassis import migrations  # with Alembic, a second of imports

    return await migrations.migrate(owner_url, migrations_of(room))


async def _patiently(state: State, admin_url: str) -> None:
    """`prepare`, again and again for a while: an external PostgreSQL may be starting just now, as we are."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await prepare(state, admin_url, rooms_with_database(), bus=bool(os.environ.get("PREPARE_BUS")))
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
            if time.monotonic() > deadline:
                raise
            _say(f"PostgreSQL does not answer yet: {error}")
        await asyncio.sleep(RETRY_S)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run by the supervisor: state folder in `TRADEWIND_HOME`, the administrator's DSN in `PREPARE_POSTGRES_URL`.

    `PREPARE_BUS` is set where the bus is a database of ours.
    """
    state = State(Path(os.environ["TRADEWIND_HOME"]))
    if not (state.folder / "signing-keys.json").exists():
        importlib.import_module("tradewind.chassis.migrations")  # will be needed: load it while the engines start
    wait_for_turn()
    try:
        asyncio.run(_patiently(state, os.environ["PREPARE_POSTGRES_URL"]))
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        _say(f"preparing the databases failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
