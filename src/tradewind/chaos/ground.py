"""The platform under test as the faults see it: its processes by name, its supervisor, its provider."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tradewind.bench.platform import CommandFailed, Platform
from tradewind.chaos.links import Links
from tradewind.chaos.plan import BACKEND, KAFKA, SUPERVISOR
from tradewind.stack.client import ask, running_supervisor
from tradewind.stack.errors import StackError
from tradewind.stack.kafka import KafkaEngine
from tradewind.stack.provision import url_for

ASK_TIMEOUT_S = 5.0
RESTART_TIMEOUT_S = 90.0
CONTROL_TIMEOUT_S = 5.0


class Ground:
    """One running platform, and the proxies in it."""

    def __init__(
        self,
        platform: Platform,
        links: Links,
        up_options: tuple[str, ...],
        seed: int,
        broker: KafkaEngine | None = None,
    ) -> None:
        """`broker`: the Kafka of this run, which nobody but us starts again."""
        self.platform = platform
        self.links = links
        self.broker = broker
        self._up_options = up_options
        self._random = random.Random(f"backends {seed}")

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self.platform.folder

    def process(self, name: str) -> psutil.Process | None:
        """The process `name` as it runs now: a unit, the supervisor, or one of PostgreSQL's backends; None when it does not."""
        if name == BACKEND:
            return self._backend()
        if name == KAFKA:
            return psutil.Process(self.broker.pid) if self.broker is not None and self.broker.pid else None
        if name == SUPERVISOR:
            record = running_supervisor(self.platform.state)
            return psutil.Process(record.pid) if record is not None else None
        for each in self.platform.state.processes():
            if each.name == name and psutil.pid_exists(each.pid):
                return psutil.Process(each.pid)
        return None

    def _backend(self) -> psutil.Process | None:
        postmaster = self.process("postgres")
        if postmaster is None:
            return None
        # A backend that serves a client has role, database and the client's address in its title.
        serving = [child for child in postmaster.children() if "127.0.0.1(" in " ".join(_title(child))]
        return self._random.choice(serving) if serving else None

    async def not_ready(self) -> list[str]:
        """The names of what runs and is not ready; the supervisor's where it does not answer."""
        try:
            rows = await asyncio.to_thread(self._rows)
        except (StackError, OSError, TimeoutError):
            return [SUPERVISOR]
        return [f"{row['name']} ({row['state']})" for row in rows if not row["ready"] or row["state"] != "running"]

    def _rows(self) -> list[dict[str, Any]]:
        answers = list(ask(self.platform.state, timeout_s=ASK_TIMEOUT_S, verb="ps"))
        rows: list[dict[str, Any]] = answers[0]["processes"]
        return rows

    @property
    def bus_url(self) -> str:
        """The bus, not through a proxy."""
        if self.broker is not None:
            return self.broker.url
        return url_for(self.platform.admin_url, "bus", self.platform.state.secrets().get("bus"), "bus")

    async def up(self) -> None:
        """Start the platform, for the first time or after its supervisor died.

        Raises:
            CommandFailed: it did not start.
        """
        try:
            await asyncio.to_thread(self.platform.up, *self._up_options)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"not ready after {error.timeout:.0f} s: {' '.join(error.cmd[2:])}") from error

    async def restart(self, name: str) -> None:
        """What `tradewind restart NAME` does.

        Raises:
            StackError: the new process did not become ready; the old one stays.
        """
        await asyncio.to_thread(lambda: list(ask(self.platform.state, RESTART_TIMEOUT_S, verb="restart", name=name)))

    async def provider(self, **conditions: Any) -> None:
        """Change the provider's weather. It forgets it when it is restarted.

        Raises:
            aiohttp.ClientError, TimeoutError: it is not there.
        """
        port = self.platform.state.ports()["psp-sandbox"]
        headers = {"authorization": f"Bearer {self.platform.state.secrets().get('sandbox_api_key')}"}
        timeout = aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            async with session.post(f"http://127.0.0.1:{port}/v1/_control", json=conditions) as answer:
                answer.raise_for_status()


def whole(process: psutil.Process) -> list[psutil.Process]:
    """The process and its children: what has to be stopped for it to stand still."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those that still are who they were."""
    for process in processes:
        if process.is_running():
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue


def _title(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
