"""The services of docker-compose.yml as processes of this machine.

Commands, entry points and variables are run as compose resolves them. Three things are translated, since here there is one
address and one file system for all: the name and port of another service become 127.0.0.1 and a free port, a service's
own ports the same free ones, and the folders that compose mounts become folders of the test's.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tradewind.stack.ports import free_port
from tradewind.stack.valkey import find_binary

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0
_ASKS = re.compile(r'("127\.0\.0\.1", )(\d+)')


def resolved(secrets: Path | str = "secrets", *more: str, **environ: str) -> dict[str, Any]:
    """docker-compose.yml as compose itself reads it, with the profiles dev and audit; `more` are further files."""
    files = [argument for name in ("docker-compose.yml", *more) for argument in ("-f", name)]
    said = subprocess.run(
        [
            BIN / "docker-compose",
            "--project-directory",
            ".",
            *files,
            "--profile",
            "dev",
            "--profile",
            "audit",
            "config",
            "--format",
            "json",
        ],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "TRADEWIND_ENV": "dev", "TRADEWIND_SECRETS": str(secrets), **environ},
        capture_output=True,
        check=True,
        timeout=60,
    )
    model: dict[str, Any] = json.loads(said.stdout)
    return model


def dockerfile(instruction: str) -> list[str]:
    """The exec form that `instruction` of the Dockerfile's last stage has."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(rf"^{instruction} [^\[\n]*(\[.*\])$", text, re.MULTILINE)
    words: list[str] = json.loads(found[-1])
    return words


class Here:
    """One machine in the place of the containers. `folder` holds what compose would mount."""

    def __init__(self, model: Mapping[str, Any], folder: Path) -> None:
        self._services: Mapping[str, Any] = model["services"]
        self._folder = folder
        self._ports: dict[tuple[str, int], int] = {}
        self._names = re.compile(rf"\b({'|'.join(map(re.escape, self._services))}):(\d+)\b")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def port(self, service: str, inside: int) -> int:
        """The port here of a port in a container."""
        return self._ports.setdefault((service, inside), free_port())

    def argv(self, service: str) -> list[str]:
        """What the container runs: its entry point or the image's, then its command."""
        described = self._services[service]
        entry = described.get("entrypoint") or (dockerfile("ENTRYPOINT") if "build" in described else [])
        return [self._translated(word) for word in [*entry, *(described.get("command") or [])]]

    def environment(self, service: str) -> dict[str, str]:
        """What the container sees, and nothing of this machine but where programs are."""
        found = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        for name, value in (self._services[service].get("environment") or {}).items():
            own = name.endswith("_PORT") and value.isdigit()
            found[name] = str(self.port(service, int(value))) if own else self._translated(value, service)
        return found

    def run(self, service: str, argv: Sequence[str] | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a one-time task to its end."""
        return subprocess.run(
            argv or self.argv(service), env=self.environment(service), capture_output=True, check=False, timeout=60
        )

    def start(self, service: str) -> None:
        """Start what keeps running; its output goes to a log."""
        argv = self.argv(service)
        if argv[0] == "valkey-server":  # another program here, and a container has a network of its own
            argv = [find_binary(), *argv[1:], "--port", str(self.port(service, 6379)), "--bind", "127.0.0.1"]
        with self.log(service).open("wb") as log:
            self._running[service] = subprocess.Popen(
                argv, env=self.environment(service), cwd=self._folder, stdout=log, stderr=subprocess.STDOUT
            )

    def log(self, service: str) -> Path:
        """What it said."""
        return self._folder / f"{service}.log"

    def wait_until_healthy(self, service: str) -> None:
        """Run the health check that compose would run, the service's own or the image's, until it passes."""
        check = self._services[service].get("healthcheck", {}).get("test", ["CMD", *dockerfile("HEALTHCHECK")])[1:]
        check = [_ASKS.sub(lambda found: f"{found[1]}{self.port(service, int(found[2]))}", word) for word in check]
        deadline = time.monotonic() + READY_WITHIN_S
        while subprocess.run(check, env={"PATH": f"{BIN}:/usr/bin:/bin"}, capture_output=True, check=False).returncode:
            alive = self._running[service].poll() is None
            assert alive, f"{service} ended: {self.log(service).read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{service} is not healthy: {self.log(service).read_text()[-3000:]}"
            time.sleep(0.1)

    def stop(self, *services: str) -> dict[str, int]:
        """SIGTERM, as compose stops them; return the exit codes. Whoever does not end in time is killed: -9."""
        leaving = {name: self._running.pop(name) for name in services if name in self._running}
        for process in leaving.values():
            process.send_signal(signal.SIGTERM)
        for process in leaving.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOPPED_WITHIN_S)
            process.kill()
        return {name: process.wait() for name, process in leaving.items()}

    @contextlib.contextmanager
    def cleared(self) -> Iterator[None]:
        """Leaves nothing running."""
        try:
            yield
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()

    def _translated(self, text: str, service: str = "") -> str:
        text = self._names.sub(lambda found: f"127.0.0.1:{self.port(found[1], int(found[2]))}", text)
        text = text.replace("/run/secrets", str(self._folder / "secrets"))
        return text.replace("/var/lib/tradewind", str(self._folder / f"state-{service}"))
