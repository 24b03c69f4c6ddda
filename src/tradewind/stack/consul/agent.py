"""One agent: its configuration, its start in about a quarter of a second, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tradewind.stack import probe
from tradewind.stack.consul.binary import fetch
from tradewind.stack.errors import StackError
from tradewind.stack.ports import free_port
from tradewind.stack.process import Child, spawn

START_TIMEOUT_S = 60.0
STOP_GRACE_S = 10.0
_POLL_S = 0.02


class ConsulEngine:
    """One agent with its data and its log in `folder`. An async context manager: started on entry, stopped on exit.

    Loopback only. Its data are on disk: services, checks and keys survive `kill -9` of it. `management_token` switches access
    control on: without a token nothing may be read or written, with this one everything.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        management_token: str = "",
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`settings` are added to the agent's configuration."""
        self.port = port or free_port()
        self._inner_ports = {name: free_port() for name in ("server", "serf_lan")}
        self._folder = folder
        self._management_token = management_token
        self._settings = dict(settings or {})
        self._environ = environ
        self._child: Child | None = None

    @property
    def address(self) -> str:
        """`host:port` of its HTTP API, as CONSUL_HTTP_ADDR names it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As `REGISTRY_URL` takes it."""
        return f"consul://{self.address}"

    @property
    def pid(self) -> int | None:
        """Process id of the agent, None while it does not run."""
        return self._child.pid if self._child and self._child.returncode is None else None

    @property
    def log(self) -> Path:
        """What the agent says: warnings and errors."""
        return self._folder / "agent.log"

    async def start(self) -> None:
        """Fetch what is missing, start, and return once there is a leader.

        Raises:
            StackError: nothing to start, or the agent's last words.
        """
        program = await asyncio.to_thread(fetch, self._environ)
        configuration = self._configure()
        # Its own environment may not name another agent or a token.
        environ = {name: value for name, value in self._environ.items() if not name.startswith("CONSUL_")}
        self._child = spawn([program, "agent", "-config-file", str(configuration)], log=self.log, env=environ)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._has_leader():
                    if self._child.returncode is not None:
                        raise StackError(f"Consul did not start: {self._last_words()}")
                    await asyncio.sleep(_POLL_S)
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Stop in order."""
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, grace_s=STOP_GRACE_S)
            self._child = None

    async def kill(self) -> None:
        """`kill -9`, and wait until it is gone. `start` brings it back on the same ports with the same data."""
        if self._child is not None:
            await self._child.stop(signal.SIGKILL, grace_s=STOP_GRACE_S)
            self._child = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _has_leader(self) -> bool:
        answer = await probe.http(f"http://{self.address}/v1/status/leader")
        return answer.status == 200 and answer.body.strip() not in (b"", b'""')

    def _configure(self) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration: dict[str, Any] = {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": "tradewind-test",
            "data_dir": str(self._folder / "data"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "log_level": "WARN",
            "disable_update_check": True,
            "ui": False,
            "ports": {"http": self.port, "dns": -1, "grpc": -1, "serf_wan": -1, **self._inner_ports},
            # A leader of one may decide at once who leads.
            "performance": {"raft_multiplier": 1},
            "leave_on_terminate": False,
            "skip_leave_on_interrupt": True,
        }
        if self._management_token:
            configuration["acl"] = {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {"master": self._management_token, "agent": self._management_token},
            }
        path = self._folder / "agent.json"
        path.write_text(json.dumps(configuration | self._settings, indent=2), "utf-8")
        path.chmod(0o600)
        return path

    def _last_words(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-5:])
