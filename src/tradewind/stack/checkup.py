"""What this machine has to have, looked at one by one: the substance of `tradewind doctor`."""

from __future__ import annotations

import asyncio
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tradewind.chassis.transport.kafka.address import parse
from tradewind.stack import envoy, unprivileged, valkey
from tradewind.stack.client import running_supervisor
from tradewind.stack.errors import StackError
from tradewind.stack.handed_in import require_kafka
from tradewind.stack.leftovers import find_leftovers
from tradewind.stack.ports import holder_of, is_free, taken
from tradewind.stack.postgres import find_binaries
from tradewind.stack.settings import read_settings
from tradewind.stack.state import State

LEAST_DISK_MB = 1024
LEAST_MEMORY_MB = 1200
OLDEST_PYTHON = (3, 11)
_RUN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `fix` is a command or a sentence, empty when all is well."""

    what: str
    ok: bool
    detail: str
    fix: str = ""


def examine(state: State, environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything; changes nothing."""
    return [
        _python(),
        _guarded("PostgreSQL", lambda: _postgres(environ)),
        _guarded("Valkey", lambda: _valkey(environ)),
        *([_kafka(environ)] if environ.get("TRADEWIND_KAFKA") else []),
        _guarded("Envoy", lambda: _runs(envoy.find_binary(environ), "--version")),
        _guarded("user for PostgreSQL", lambda: _user(environ)),
        _guarded("public port", lambda: _port(state, environ)),
        _disk(state),
        _memory(),
        _left_behind(state),
    ]


def _guarded(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, ok=True, detail=look())
    except StackError as error:
        return Finding(what, ok=False, detail=error.problem, fix=error.fix)


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", ok=False, detail=version, fix="install Python 3.11 or newer, then make setup")
    return Finding("Python", ok=True, detail=version)


def _postgres(environ: Mapping[str, str]) -> str:
    if environ.get("TRADEWIND_POSTGRES_URL"):
        return "external, by TRADEWIND_POSTGRES_URL"
    found = find_binaries(environ)
    return f"{found.major} in {found.folder}"


def _valkey(environ: Mapping[str, str]) -> str:
    if environ.get("TRADEWIND_VALKEY_URL"):
        return "external, by TRADEWIND_VALKEY_URL"
    return _runs(valkey.find_binary(environ), "--version")


def _kafka(environ: Mapping[str, str]) -> Finding:
    def look() -> str:
        url = read_settings(environ).kafka_url
        asyncio.run(require_kafka(url))
        return f"answers at {parse(url).servers}, by TRADEWIND_KAFKA"

    return _guarded("Kafka", look)


def _runs(binary: str, argument: str) -> str:
    try:
        said = subprocess.run([binary, argument], capture_output=True, text=True, check=True, timeout=_RUN_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(
            f"{binary} does not run here: {error}", "make setup, or name another with TRADEWIND_*_BIN"
        ) from error
    return said.stdout.strip().splitlines()[0] if said.stdout.strip() else binary


def _user(environ: Mapping[str, str]) -> str:
    runs_as = unprivileged.disguise(environ)
    if runs_as.user:
        return f"root; PostgreSQL runs as {runs_as.user}"
    return "root; PostgreSQL runs in a user namespace" if runs_as.prefix else "an ordinary user"


def _port(state: State, environ: Mapping[str, str]) -> str:
    settings = read_settings(environ)
    record = running_supervisor(state)
    if record is not None:
        return f"in use by the stack that runs here: {record.url}"
    if is_free(settings.port, settings.host):
        return f"{settings.port} is free"
    raise taken(settings.port, settings.host, holder_of(settings.port))


def _disk(state: State) -> Finding:
    folder = state.folder
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // (1024 * 1024)
    detail = f"{free_mb} MB free in {folder}"
    if free_mb < LEAST_DISK_MB:
        return Finding("disk", ok=False, detail=detail, fix=f"free {LEAST_DISK_MB} MB, or set TRADEWIND_HOME elsewhere")
    return Finding("disk", ok=True, detail=detail)


def _memory() -> Finding:
    import psutil

    free_mb = psutil.virtual_memory().available // (1024 * 1024)
    detail = f"{free_mb} MB available"
    if free_mb < LEAST_MEMORY_MB:
        return Finding(
            "memory", ok=False, detail=detail, fix=f"the platform takes about 900 MB; leave {LEAST_MEMORY_MB} MB"
        )
    return Finding("memory", ok=True, detail=detail)


def _left_behind(state: State) -> Finding:
    if running_supervisor(state) is not None or not state.exists:
        return Finding("leftovers", ok=True, detail="none")
    found = find_leftovers(state)
    if not found:
        return Finding("leftovers", ok=True, detail="none")
    pids = ", ".join(str(process.pid) for process in found)
    return Finding("leftovers", ok=False, detail=f"a crashed stack left processes: {pids}", fix="tradewind down")
