"""What verbs that look into a platform need: its databases, its bus, its provider, its public door, an operator's token.

Each comes from the environment where it is set there (production), else from the stack of the state folder (a laptop).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tradewind.audit.provider import SandboxCharges
from tradewind.audit.provider_stripe import STRIPE_URL, StripeCharges
from tradewind.audit.sources import Provider, Sources
from tradewind.stack.client import running_supervisor
from tradewind.stack.errors import StackError
from tradewind.stack.handed_in import variable
from tradewind.stack.provision import room_access, url_for
from tradewind.stack.rooms import rooms_with_database
from tradewind.stack.state import State


def audit_sources(environ: Mapping[str, str] = os.environ) -> Sources:
    """Where the books of this platform are.

    Raises:
        StackError: something is neither in the environment nor in a running stack; it is named.
    """
    state = State.of(environ)
    admin_url = stack_admin_url(state, environ)
    secrets = state.secrets()
    databases, missing = _databases(rooms_with_database(), environ)
    bus_url = variable("BUS_URL", environ)
    if bus_url is None and admin_url is not None:
        record = running_supervisor(state)
        bus_url = (record.kafka_url if record else "") or url_for(admin_url, "bus", secrets.get("bus"), "bus")
    if bus_url is None:
        missing.append("BUS_URL")
    if missing or bus_url is None:
        raise StackError(f"not set: {', '.join(missing)}", "set them, or start the platform here with `tradewind up`")
    return Sources(databases=databases, bus_url=bus_url, provider=_provider(state, environ))


def bus_since(environ: Mapping[str, str] = os.environ) -> datetime | None:
    """When the stack of the state folder changed its bus; None where it never did, or where BUS_URL names the bus."""
    record = None if variable("BUS_URL", environ) else State.of(environ).bus()
    return record.since if record else None


def room_databases(rooms: Sequence[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The DSN of each room's database.

    Raises:
        StackError: one is neither in the environment nor in a running stack; all that are missing are named.
    """
    databases, missing = _databases(rooms, environ)
    if missing:
        raise StackError(f"not set: {', '.join(missing)}", "set them, or start the platform here with `tradewind up`")
    return databases


def _databases(rooms: Sequence[str], environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The DSNs that are known, and the names of the variables that would hold the others."""
    state = State.of(environ)
    admin_url = stack_admin_url(state, environ)
    secrets = state.secrets()
    databases: dict[str, str] = {}
    missing: list[str] = []
    for room in rooms:
        url = variable(f"{room.upper()}_DATABASE_URL", environ)
        if url is None and admin_url is not None:
            login, password = secrets.login(room)
            url = room_access(admin_url, room, password=password, owner_password="", login=login).url
        if url is None:
            missing.append(f"{room.upper()}_DATABASE_URL")
        else:
            databases[room] = url
    return databases, missing


def signing_keys_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The platform's signing keys.

    Raises:
        StackError: there are none here.
    """
    path = Path(environ.get("AUTH_SIGNING_KEYS_FILE") or State.of(environ).folder / "signing-keys.json")
    if not path.exists():
        raise StackError(
            f"there are no signing keys at {path}", "start the platform here, or set AUTH_SIGNING_KEYS_FILE"
        )
    return path


def public_url(environ: Mapping[str, str] = os.environ) -> str:
    """The public door of the platform that runs here.

    Raises:
        StackError: none runs.
    """
    record = running_supervisor(State.of(environ))
    if record is None:
        raise StackError(f"nothing runs in {State.of(environ).folder}", "start it with `tradewind up`, or give --url")
    return record.url


def stack_admin_url(state: State, environ: Mapping[str, str]) -> str | None:
    """DSN of the database server's administrator, in the stack that runs here, if one does."""
    if running_supervisor(state) is None:
        return None
    if given := environ.get("TRADEWIND_POSTGRES_URL"):
        return given
    port = state.ports().get("postgres")
    return f"postgresql://postgres:{state.secrets().get('postgres')}@127.0.0.1:{port}/postgres" if port else None


def _provider(state: State, environ: Mapping[str, str]) -> Provider | None:
    url, key = variable("PAYMENT_SANDBOX_URL", environ), variable("PAYMENT_SANDBOX_API_KEY", environ)
    named, stripe_key = variable("PAYMENT_PROVIDER", environ), variable("PAYMENT_STRIPE_API_KEY", environ)
    if named in {None, "auto"}:
        # As payment-service decides it, and where nobody says what environment this is, by what is there.
        production = variable("TRADEWIND_ENV", environ) not in {None, "dev"}
        named = "stripe" if stripe_key and (production or not url) else "sandbox"
    if stripe_key and named == "stripe":
        return StripeCharges(stripe_key, variable("PAYMENT_STRIPE_URL", environ) or STRIPE_URL)
    if url and key:
        return SandboxCharges(url, key)
    port = state.ports().get("psp-sandbox")
    if running_supervisor(state) is not None and port:
        return SandboxCharges(f"http://127.0.0.1:{port}", state.secrets().get("sandbox_api_key"))
    return None
