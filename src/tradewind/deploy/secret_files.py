"""The passwords and keys of one deployment: a folder with a file a secret, which compose and Kubernetes mount as they are.

What is there stays: a second run adds only what is missing, so a new room gets its secrets and no password changes. To use
a managed engine, put its connection string into the file.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from tradewind.chassis.ids import new_id
from tradewind.chassis.signing import keys_file, new_signing_key
from tradewind.deploy.containers import Container
from tradewind.mesh.identity import room_token
from tradewind.stack.provision import room_access, url_for

PLATFORM_SECRET = "gateway_registry_secret"  # noqa: S105 - the name of a file

Look: TypeAlias = Callable[[str], str]
"""Gives the content of another secret, which is made if it has to be."""

ENGINE_SECRETS = ("postgres_password", "valkey_conf", "valkey_password")
"""What the engines read, where they come with the deployment."""


def secret_names(containers: Iterable[Container]) -> list[str]:
    """Every secret that these containers and the engines read, sorted."""
    return sorted({*ENGINE_SECRETS, *(name for container in containers for name in container.environment.secret_names)})


def write_secrets(folder: Path, names: Iterable[str], rooms: Iterable[str]) -> list[str]:
    """Make the files `names` that are missing in `folder`; return which were made.

    The folder is for its owner only. The files in it can be read by all, since compose mounts them as they are into
    containers whose user is not ours. A .gitignore keeps them out of version control.

    Raises:
        OSError: the folder cannot be written.
        ValueError: nobody knows how to make a secret of that name.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not (ignored := folder / ".gitignore").exists():
        _write(ignored, "*")
    recipes = _recipes(rooms)
    made: list[str] = []

    def look(name: str) -> str:
        path = folder / name
        if path.exists():
            return path.read_text(encoding="utf-8").strip()
        if name not in recipes:
            raise ValueError(f"nobody knows how to make the secret {name}: say so in tradewind/deploy/secret_files.py")
        content = recipes[name](look)
        _write(path, content)
        made.append(name)
        return content

    for name in names:
        look(name)
    return made


def _recipes(rooms: Iterable[str]) -> Mapping[str, Callable[[Look], str]]:
    recipes: dict[str, Callable[[Look], str]] = {
        "postgres_password": _random,
        "postgres_url": lambda look: f"postgresql://postgres:{look('postgres_password')}@postgres:5432/postgres",
        "bus_url": lambda look: url_for(look("postgres_url"), "bus", _random(look), "bus"),
        "valkey_password": _random,
        # Its password comes by configuration file: a command line can be read by everybody on the host.
        "valkey_conf": lambda look: f"requirepass {look('valkey_password')}",
        "valkey_url": lambda look: f"redis://:{look('valkey_password')}@valkey:6379/0",
        PLATFORM_SECRET: _random,
        "auth_signing_keys": _signing_keys,
        "admin_password": _random,
        "notification_smtp_url": lambda _: "smtp://mailpit:1025",
        "psp_sandbox_api_key": _random,
        "psp_sandbox_webhook_secret": _random,
        # Only Stripe makes these. Without them payment-service starts in dev, and says what is missing elsewhere.
        "stripe_api_key": _empty,
        "stripe_webhook_secret": _empty,
    }
    for room in rooms:
        recipes |= _of_room(room)
    return recipes


def _of_room(room: str) -> dict[str, Callable[[Look], str]]:
    def runtime(look: Look) -> str:
        return room_access(look("postgres_url"), room, password=_random(look), owner_password="").url

    def owner(look: Look) -> str:
        return room_access(look("postgres_url"), room, password="", owner_password=_random(look)).owner_url

    return {
        f"{room}_database_url": runtime,
        f"{room}_migrate_database_url": owner,
        f"{room}_registry_token": lambda look: room_token(look(PLATFORM_SECRET), room),
    }


def _random(_: Look) -> str:
    """192 bits, in characters that need no escaping in a URL."""
    return secrets.token_urlsafe(24)


def _empty(_: Look) -> str:
    return ""


def _signing_keys(_: Look) -> str:
    kid = new_id()
    return keys_file(kid, [new_signing_key(kid)]).decode()


def _write(path: Path, content: str) -> None:
    path.write_text(content.rstrip("\n") + "\n", encoding="utf-8")
    path.chmod(0o444)
