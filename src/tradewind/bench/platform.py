"""A platform of its own for a benchmark: started and asked as a user does it, by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tradewind.stack.ports import free_port
from tradewind.stack.state import State

UP_TIMEOUT_S = 120.0
# The limits protect a platform from its clients; here the clients are the measurement.
RATES_RAISED = {
    f"GATEWAY_RATE_{scope}_{kind}": "1000000" for scope in ("SUBJECT", "ADDRESS", "AUTH") for kind in ("PER_S", "BURST")
}


class CommandFailed(Exception):
    """A `tradewind` command did not exit with 0; the message is what it said."""


class Platform:
    """One state folder and the platform in it."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.environ = {**os.environ, **RATES_RAISED, **(environ or {}), "TRADEWIND_HOME": str(folder)}

    @property
    def url(self) -> str:
        """The public door."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> State:
        """Its state folder."""
        return State(self.folder)

    @property
    def admin_url(self) -> str:
        """DSN of the database server's superuser."""
        port = self.state.ports()["postgres"]
        return f"postgresql://postgres:{self.state.secrets().get('postgres')}@127.0.0.1:{port}/postgres"

    @property
    def keys_file(self) -> Path:
        """The signing keys that an operator's token is made with."""
        return self.folder / "signing-keys.json"

    def command(self, *words: str, timeout_s: float = UP_TIMEOUT_S) -> str:
        """Run `tradewind WORDS` on this platform and return what it printed.

        Raises:
            CommandFailed: it exited with something else than 0.
        """
        done = subprocess.run(
            [sys.executable, "-m", "tradewind.cli", *words],
            env=self.environ, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CommandFailed(
                f"tradewind {' '.join(words)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def started(self, *words: str) -> subprocess.Popen[bytes]:
        """`tradewind WORDS` on this platform while it runs; its output is piped."""
        return subprocess.Popen(
            [sys.executable, "-m", "tradewind.cli", *words],
            env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def up(self, *options: str) -> float:
        """Start, and return the seconds until an order could be placed."""
        started_s = time.perf_counter()
        self.command("up", "-d", "--port", str(self.port), *options)
        return time.perf_counter() - started_s

    def down(self, *options: str) -> None:
        """Stop."""
        self.command("down", *options)

    def processes(self) -> list[dict[str, Any]]:
        """What `tradewind ps --format json` lists."""
        found: list[dict[str, Any]] = msgspec.json.decode(self.command("ps", "--format", "json"))["processes"]
        return found
