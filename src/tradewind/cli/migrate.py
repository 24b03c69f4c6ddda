"""`tradewind migrate`: database migrations, run as the owner of each database."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

import click

from tradewind.stack.client import running_supervisor
from tradewind.stack.errors import StackError
from tradewind.stack.handed_in import ADMIN_URL, make_databases, variable
from tradewind.stack.kept_secrets import Secrets
from tradewind.stack.provision import room_access, url_for
from tradewind.stack.rooms import migrations_of, rooms_with_database
from tradewind.stack.state import State


@click.command()
@click.argument("room", required=False)
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 when a database is behind.")
@click.option("--provision", is_flag=True, help="Make databases and roles first, as the connection strings name them.")
def migrate(room: str | None, check: bool, provision: bool) -> None:
    """Bring the database of ROOM (or of every room) to the newest version.

    Reads ROOM_MIGRATE_DATABASE_URL, else ROOM_DATABASE_URL, for example ORDER_MIGRATE_DATABASE_URL. On a machine where
    `tradewind up` runs, its databases are used where these are not set. With --provision, TRADEWIND_POSTGRES_URL is the
    administrator's, and BUS_URL and both URLs of every room say which roles and passwords to make.
    """
    rooms = rooms_with_database()
    if room is not None and room not in rooms:
        raise click.UsageError(f"there is no room {room!r} with a database. Rooms: {', '.join(rooms)}")
    if provision and (room is not None or check):
        raise click.UsageError("--provision is for all rooms at once, and changes things")
    if provision:
        asyncio.run(_provision(rooms))
    urls = _urls((room,) if room else rooms, os.environ)
    missing = asyncio.run(_migrate(urls, check=check))
    if room is None and (bus_url := variable("BUS_URL", os.environ) or _bus_of_stack(os.environ)):
        missing += asyncio.run(_migrate_bus(bus_url, check=check))
    if check and missing:
        sys.exit(1)


async def _provision(rooms: Sequence[str]) -> None:
    import asyncpg

    try:
        await make_databases(rooms, os.environ)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise StackError(
            f"databases and roles: {error or type(error).__name__}", f"is PostgreSQL up, and {ADMIN_URL} right?"
        ) from error
    click.echo(f"databases and roles are there: {', '.join(rooms)}, bus")


async def _migrate(urls: Mapping[str, str], *, check: bool) -> int:
    """Migrate one after the other, a line each; return how many revisions were applied or are missing."""
    import asyncpg

    from tradewind.chassis import migrations

    total = 0
    for room, url in urls.items():
        try:
            revisions = await migrations.migrate(url, migrations_of(room), check=check)
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            raise StackError(
                f"{room}: {error or type(error).__name__}", "is PostgreSQL up, and the URL right?"
            ) from error
        total += len(revisions)
        word = "behind by" if check else "applied"
        click.echo(f"{room}: {word} {', '.join(revisions)}" if revisions else f"{room}: up to date")
    return total


async def _migrate_bus(url: str, *, check: bool) -> int:
    """Bring the event bus to its newest step; return how many were applied or are missing. Kafka has none."""
    from tradewind.chassis.errors import Unavailable
    from tradewind.chassis.transport import is_kafka

    if is_kafka(url):
        click.echo("bus: on Kafka, which needs no migrations")
        return 0
    from tradewind.chassis.postgres import Database
    from tradewind.chassis.transport.postgres.schema import ensure_schema, missing_steps

    try:
        if check:
            database = await Database.open(url, max_size=1)
            steps = await missing_steps(database)
            await database.close()
        else:
            steps = await ensure_schema(url)
    except Unavailable as error:
        raise StackError(f"bus: {error.detail}", "is PostgreSQL up, and BUS_URL right?") from error
    word = "behind by" if check else "applied"
    click.echo(f"bus: {word} {steps} steps" if steps else "bus: up to date")
    return steps


def _urls(rooms: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """The owner's DSN of each room. Raises StackError that names every variable that is missing."""
    found = {room: _from_environment(room, environ) or _from_stack(room, environ) for room in rooms}
    missing = [f"{room.upper()}_MIGRATE_DATABASE_URL" for room, url in found.items() if not url]
    if missing:
        raise StackError(f"not set: {', '.join(missing)}", "set them, or start the platform here with `tradewind up`")
    return {room: url for room, url in found.items() if url}


def _from_environment(room: str, environ: Mapping[str, str]) -> str | None:
    names = (f"{room.upper()}_MIGRATE_DATABASE_URL", f"{room.upper()}_DATABASE_URL")
    return variable(names[0], environ) or variable(names[1], environ)


def _admin_of_stack(environ: Mapping[str, str]) -> tuple[str, Secrets] | None:
    """The address of the server in the stack that runs here, if one does, and the passwords of its roles."""
    state = State.of(environ)
    if running_supervisor(state) is None:
        return None
    if port := state.ports().get("postgres"):
        return f"postgresql://postgres@127.0.0.1:{port}/postgres", state.secrets()
    given = environ.get(ADMIN_URL, "")
    return (given, state.secrets()) if given else None


def _bus_of_stack(environ: Mapping[str, str]) -> str | None:
    """The event bus of the stack that runs here, if one does."""
    found = _admin_of_stack(environ)
    record = running_supervisor(State.of(environ))
    if record is not None and record.kafka_url:
        return record.kafka_url
    return url_for(found[0], "bus", found[1].get("bus"), "bus") if found else None


def _from_stack(room: str, environ: Mapping[str, str]) -> str | None:
    """The owner's DSN in the stack that runs here, if one does."""
    found = _admin_of_stack(environ)
    if found is None:
        return None
    admin_url, secrets = found
    passwords = {"password": secrets.get(f"{room}_service"), "owner_password": secrets.get(f"{room}_owner")}
    return room_access(admin_url, room, **passwords).owner_url
