"""Databases and roles as a deployment's own connection strings name them, passwords included.

On a laptop the stack invents the passwords and builds the strings; in a deployment the strings come first, each a secret
of its own, and the server is brought to agree with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tradewind.chassis.consul import ConsulAddress
from tradewind.chassis.transport import is_kafka
from tradewind.chassis.transport.kafka.address import parse
from tradewind.stack import probe, provision
from tradewind.stack.errors import StackError

ADMIN_URL = "TRADEWIND_POSTGRES_URL"
BUS_URL = "BUS_URL"
PATIENCE_S = 5.0


def variable(name: str, environ: Mapping[str, str]) -> str | None:
    """The variable, or the content of the file that `NAME_FILE` names. Raises StackError when that cannot be read."""
    if value := environ.get(name):
        return value
    if path := environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise StackError(f"{name}_FILE: {error.strerror}: {path}") from error
    return None


async def require_kafka(url: str) -> None:
    """See whether anybody answers at the Kafka address `url`, if it is one.

    Raises:
        StackError: nobody does; the address is named.
    """
    if not url:
        return
    address = parse(url)
    for server in address.servers.split(","):
        host, _, port = server.rpartition(":")
        # Behind TLS only a handshake tells more, and the services say so themselves.
        listens = probe.listens if "SSL" in address.security["security.protocol"].split("_") else probe.kafka
        if await listens(host.strip("[]"), int(port), timeout_s=PATIENCE_S):
            return
    raise StackError(
        f"no Kafka broker answers at {address.servers}",
        "start it, or name another: --kafka HOST:PORT or TRADEWIND_KAFKA",
    )


async def require_consul(url: str) -> None:
    """See whether anybody listens at the Consul address `url`, if it is one.

    Raises:
        StackError: nobody does; the address is named.
    """
    if not url:
        return
    parts = urlsplit(ConsulAddress.parse(url).base_url)
    if not await probe.listens(parts.hostname or "", parts.port or 0, timeout_s=PATIENCE_S):
        raise StackError(
            f"no Consul agent answers at {parts.netloc}",
            "start it, or name another: --consul URL or TRADEWIND_CONSUL",
        )


async def make_databases(rooms: Sequence[str], environ: Mapping[str, str]) -> None:
    """Make the database and the two roles of each room, and the event bus, unless that is a Kafka cluster.

    Repeating it sets the passwords anew.

    Raises:
        StackError: a connection string is missing, or names another role or database than the room's own.
        OSError, asyncpg.PostgresError: the server cannot be reached, or refuses.
    """
    wanted = [ADMIN_URL, BUS_URL, *(name for room in rooms for name in _strings_of(room))]
    urls = {name: variable(name, environ) or "" for name in wanted}
    if missing := [name for name, url in urls.items() if not url]:
        raise StackError(f"not set: {', '.join(missing)}", "each names a connection string; NAME_FILE a file with one")
    on_kafka = is_kafka(urls[BUS_URL])
    passwords = {} if on_kafka else {BUS_URL: _password(BUS_URL, urls[BUS_URL], "bus", "bus")}
    for room in rooms:
        for name, role in zip(_strings_of(room), (f"{room}_service", f"{room}_owner"), strict=True):
            passwords[name] = _password(name, urls[name], role, f"{room}_service")
    for room in rooms:
        runtime, owner = _strings_of(room)
        await provision.create_room(urls[ADMIN_URL], room, password=passwords[runtime], owner_password=passwords[owner])
    if not on_kafka:
        await provision.create_bus(urls[ADMIN_URL], password=passwords[BUS_URL])
    await provision.watch_statements(urls[ADMIN_URL])


def _strings_of(room: str) -> tuple[str, str]:
    return f"{room.upper()}_DATABASE_URL", f"{room.upper()}_MIGRATE_DATABASE_URL"


def _password(name: str, url: str, role: str, database: str) -> str:
    """The password in `url`, which must be that role's, for that database."""
    parts = urlsplit(url)
    if parts.username != role or parts.path != f"/{database}" or not parts.password:
        raise StackError(
            f"{name} does not name role, password and database", f"postgresql://{role}:...@host/{database}"
        )
    return unquote(parts.password)
