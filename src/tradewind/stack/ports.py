"""Free ports, and who holds a taken one."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tradewind.stack.errors import StackError

_LOWEST = 20000
_DEFAULT_EPHEMERAL_LOW = 32768
_ATTEMPTS = 2000
_NEAR = 100


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port; `pid` is None where the kernel does not tell us (another user's process)."""

    pid: int | None
    command: str


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether `host:port` can be bound now. SO_REUSEPORT stays off: Envoy's listeners would share it with each other."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on and this process has not handed out before.

    Taken from below the range the kernel uses for outgoing connections: a port from `bind(0)` may belong to somebody's
    outgoing connection by the time the process it was meant for (or its restart) binds it.
    """
    for port in _candidates():
        if port not in _handed_out and is_free(port, host):
            _handed_out.add(port)
            return port
    raise OSError(f"no free port on {host} between {_LOWEST} and {_ephemeral_low()}")


def release_port(port: int) -> None:
    """Let `free_port` hand this port out again."""
    _handed_out.discard(port)


def holder_of(port: int) -> Holder:
    """Who listens on `port`."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return Holder(None, "a process of another user")
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or connection.laddr.port != port:
            continue
        if connection.pid is None:
            break
        try:
            return Holder(
                connection.pid,
                " ".join(psutil.Process(connection.pid).cmdline()) or "?",
            )
        except psutil.Error:
            return Holder(connection.pid, "?")
    return Holder(None, "a process of another user")


def taken(port: int, host: str, holder: Holder, flag: str = "--port") -> StackError:
    """The error that names a taken public port's holder, and the flag with a port that is free."""
    who = f"{holder.command} (pid {holder.pid})" if holder.pid else holder.command
    free = next((near for near in range(port + 1, min(port + _NEAR, 65536)) if is_free(near, host)), 0)
    another = f"tradewind up {flag} {free}" if free else f"tradewind up {flag} N"
    return StackError(f"port {port} is taken by {who}", f"stop it, or choose another port: {another}")


_handed_out: set[int] = set()


def _candidates() -> Iterator[int]:
    high = _ephemeral_low()
    if high - _LOWEST < _ATTEMPTS:
        high = 65536
    yield from random.sample(range(_LOWEST, high), _ATTEMPTS)


def _ephemeral_low() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return _DEFAULT_EPHEMERAL_LOW
