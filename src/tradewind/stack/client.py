"""Talking to the supervisor of a state folder, from a short-lived command: blocking and light."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import psutil

from tradewind.stack.errors import StackError
from tradewind.stack.state import State, SupervisorRecord

CONNECT_TIMEOUT_S = 5.0
RECORD_WAIT_S = 10.0
"""A starting supervisor first ends what a crashed one left, which takes up to 8 s."""

_SAME_START_S = 1.5
_POLL_S = 0.02


def running_supervisor(state: State) -> SupervisorRecord | None:
    """The supervisor of this folder, None when none is alive."""
    record = state.supervisor()
    if record is None:
        return None
    try:
        process = psutil.Process(record.pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - record.created) < _SAME_START_S
    except psutil.Error:
        return None
    return record if alive else None


def awaited_supervisor(state: State) -> SupervisorRecord | None:
    """Like `running_supervisor`, for when somebody holds the lock: one that starts just now writes its record soon."""
    deadline = time.monotonic() + RECORD_WAIT_S
    while (record := running_supervisor(state)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return record


def ask(state: State, timeout_s: float | None = None, **request: Any) -> Iterator[dict[str, Any]]:
    """Send `request`, yield the answers up to and without the last; `timeout_s` bounds the wait for each.

    Raises StackError when nothing runs here or the supervisor says that it failed, TimeoutError.
    """
    record = running_supervisor(state)
    if record is None:
        raise StackError(f"nothing runs in {state.folder}", "start it with `tradewind up`")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(record.socket)
            connection.sendall(msgspec.json.encode(request) + b"\n")
        except OSError as error:
            raise StackError(f"the supervisor (pid {record.pid}) does not answer: {error}", "tradewind down") from error
        connection.settimeout(timeout_s)
        with connection.makefile("rb") as answers:
            for line in answers:
                answer = msgspec.json.decode(line, type=dict[str, Any])
                if "exit" not in answer:
                    yield answer
                elif answer["exit"]:
                    raise StackError(answer.get("problem", "it failed"), answer.get("fix", ""))
                else:
                    return
    raise StackError("the supervisor ended meanwhile", "tradewind ps")
