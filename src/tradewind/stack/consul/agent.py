"""One agent: its configuration, its start in about a quarter of a second, its end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tradewind.stack import probe
from tradewind.stack.consul.binary import fetch
from tradewind.stack.lone_engine import LoneEngine
from tradewind.stack.ports import free_port


class ConsulEngine(LoneEngine):
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
        super().__init__(folder / "agent.log")
        self.port = port or free_port()
        self._inner_ports = {name: free_port() for name in ("server", "serf_lan")}
        self._folder = folder
        self._management_token = management_token
        self._settings = dict(settings or {})
        self._environ = environ

    @property
    def address(self) -> str:
        """`host:port` of its HTTP API, as CONSUL_HTTP_ADDR names it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As `REGISTRY_URL` takes it."""
        return f"consul://{self.address}"

    async def start(self) -> None:
        """Fetch what is missing, start, and return once there is a leader.

        Raises:
            StackError: nothing to start, or the agent's last words.
        """
        program = await asyncio.to_thread(fetch, self._environ)
        configuration = self._configure()
        # Its own environment may not name another agent or a token.
        environ = {name: value for name, value in self._environ.items() if not name.startswith("CONSUL_")}
        argv = [program, "agent", "-config-file", str(configuration)]
        await self._run("Consul", argv, self._has_leader, environ=environ)

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
