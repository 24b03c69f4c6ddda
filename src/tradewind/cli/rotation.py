"""Replacing a secret while it is in use. Each has a time in which the old and the new one are both good, and each can be done again:
one that was broken off leaves the platform working, with the old secret or the new one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tradewind.chassis.ids import new_id
from tradewind.chassis.signing import SigningKey, TokenSigner, keys_file, new_signing_key, read_keys
from tradewind.chassis.whole_file import replace_file
from tradewind.cli.platform_access import public_url, signing_keys_file, stack_admin_url
from tradewind.stack import provision
from tradewind.stack.client import ask
from tradewind.stack.errors import StackError
from tradewind.stack.kept_secrets import BESIDE, random_secret
from tradewind.stack.rooms import rooms_with_database
from tradewind.stack.state import State
from tradewind.traffic.client import Refused, open_shop
from tradewind.traffic.operator import token_by

KNOWN_WITHIN_S = 30.0
POLL_S = 0.25
REFETCH_S = 1.5
"""A verifier that has just looked for another key looks again after a second (`jwks.MIN_INTERVAL_S`)."""
KEEPS_VERIFYING_S = 900
"""An access token lives for 600 s; clocks may differ by more than one would like."""
CLOSED_WITHIN_S = 30.0
DOORS = (
    "/v1/auth/sessions",
    "/v1/users?limit=1",
    "/v1/orders?limit=1",
    "/v1/notifications?limit=1",
    "/v1/analytics/summary",
)
"""One of each kind of service that verifies tokens by itself."""

PROVIDER_FIRST, PAYMENT_FIRST = ("psp-sandbox", "payment"), ("payment", "psp-sandbox")

Say = Callable[[str], None]


def rotate_signing_key(environ: Mapping[str, str], say: Say) -> dict[str, Any]:
    """Publish a new key, wait until the edge and the services verify with it, sign with it, and let the old one retire.

    Raises:
        StackError: nothing runs here; or the new key is not known everywhere in time, and is taken back.
    """
    path, url = signing_keys_file(environ), public_url(environ)
    active, keys = read_keys(path)
    now_s = int(time.time())
    keys = [key for key in keys if key.kid == active or (key.retires_at is not None and key.retires_at > now_s)]
    new = new_signing_key(new_id())
    _replace(path, active, [*keys, new])
    say(f"  {new.kid}: published")
    try:
        asyncio.run(_known_everywhere(url, TokenSigner(new.kid, [new])))
    except TimeoutError as error:
        _replace(path, active, keys)
        raise StackError(
            f"the new key was not known everywhere within {KNOWN_WITHIN_S:.0f} s, and was taken back", "tradewind ps"
        ) from error
    retires_at = int(time.time()) + KEEPS_VERIFYING_S
    retiring = [msgspec.structs.replace(key, retires_at=key.retires_at or retires_at) for key in keys]
    _replace(path, new.kid, [*retiring, new])
    say(f"  {new.kid}: signs; what was signed before is good for {KEEPS_VERIFYING_S // 60} minutes")
    return {"rotated": "jwt", "active": new.kid, "retiring": [key.kid for key in retiring]}


def rotate_database_password(room: str, environ: Mapping[str, str], say: Say) -> dict[str, Any]:
    """Give the room a second role with a new password, restart it as that, without loss, and shut the first one out.

    Raises:
        StackError: there is no such room, nothing runs here, or somebody still uses the old role.
    """
    if room not in rooms_with_database():
        raise StackError(f"there is no room {room!r} with a database", f"rooms: {', '.join(rooms_with_database())}")
    state = State.of(environ)
    admin_url = stack_admin_url(state, environ)
    if admin_url is None:
        raise StackError(f"nothing runs in {state.folder}", "start it with `tradewind up`")
    secrets = state.secrets()
    old, _ = secrets.login(room)
    new, password = provision.other_login(room, old), random_secret()
    asyncio.run(provision.open_login(admin_url, room, new, password))
    secrets.keep({new: password, f"{room}_login": new})
    say(f"  {new}: may sign in")
    for event in ask(state, verb="restart", name=room):
        if event["event"] == "process":
            say(f"  {event['name']}: {event['state']}")
    # The old password is to open nothing, not even where roles are made anew from what is kept.
    secrets.keep({old: random_secret()})
    asyncio.run(_shut_out(admin_url, old))
    say(f"  {old}: shut out")
    return {"rotated": f"database/{room}", "login": new}


def rotate_provider_keys(environ: Mapping[str, str], say: Say) -> dict[str, Any]:
    """Replace the sandbox provider's API key and webhook secret: both sides accept both, then use the new, then accept it alone.

    Raises:
        StackError: nothing runs here, or a process does not come back; done again, it begins anew with what is in use.
    """
    state = State.of(environ)
    secrets = state.secrets()
    names = ("sandbox_api_key", "sandbox_webhook")
    old, new = {name: secrets.get(name) for name in names}, {name: random_secret() for name in names}
    # At each step either side may be ahead of the other: what one uses, the other already accepts, or still does.
    steps = ((old, new, PROVIDER_FIRST), (new, old, PAYMENT_FIRST), (new, new, PROVIDER_FIRST))
    for used, beside, order in steps:
        secrets.keep({**used, **{f"{name}{BESIDE}": beside[name] for name in names}})
        for name in order:
            for event in ask(state, verb="restart", name=name):
                if event["event"] == "process":
                    say(f"  {event['name']}: {event['state']}")
    return {"rotated": "provider"}


async def _known_everywhere(url: str, signer: TokenSigner) -> None:
    """Return once tokens of `signer` open every door; raises TimeoutError."""
    async with asyncio.timeout(KNOWN_WITHIN_S), open_shop(url) as shop:
        published = False
        while not published:
            answer = (await shop.call("GET", "/.well-known/jwks.json")).body
            published = any(key["kid"] == signer.active for key in answer["keys"])
            await asyncio.sleep(POLL_S if not published else REFETCH_S)
        while not all([await _opens(shop, door, token_by(signer)) for door in DOORS for _ in range(4)]):
            await asyncio.sleep(POLL_S)


async def _opens(shop: Any, path: str, token: str) -> bool:
    try:
        await shop.call("GET", path, token=token)
    except Refused as refused:
        return refused.status not in {401, 503, 504}
    return True


async def _shut_out(admin_url: str, login: str) -> None:
    await provision.close_login(admin_url, login)
    deadline_s = time.monotonic() + CLOSED_WITHIN_S
    while count := await provision.count_connections(admin_url, login):
        if time.monotonic() > deadline_s:
            raise StackError(
                f"{count} connections are still open as {login}, which can make no new ones",
                "look for them in pg_stat_activity",
            )
        await asyncio.sleep(POLL_S)


def _replace(path: Path, active: str, keys: list[SigningKey]) -> None:
    """In one step, so that auth-service never reads half of it."""
    try:
        replace_file(path, keys_file(active, keys))
    except OSError as error:
        raise StackError(
            f"{path} cannot be written: {error.strerror}", "rotate the key where this file comes from"
        ) from error
