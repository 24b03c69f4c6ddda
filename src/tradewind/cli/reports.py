"""How `up` tells what happens: lines for people, JSON lines for programs, a pipe for the one who detached us."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

from tradewind.cli.output import json_line
from tradewind.stack.client import awaited_supervisor
from tradewind.stack.state import State, SupervisorRecord

if TYPE_CHECKING:
    from tradewind.stack.host import Host

Event = dict[str, Any]


class Report(Protocol):
    """Shows events. Open `watching` around the run."""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        ...

    def watching(self, host: Host) -> AbstractAsyncContextManager[None]:
        """What the report needs around the run: a live table, or nothing."""
        ...


def lines(format_: str, state: State) -> Report:
    """Lines on stdout, of the form `--format` asks for."""
    return JsonReport() if format_ == "json" else TextReport(state)


def already_running(state: State) -> Event:
    """The event of an `up` that found another one at work."""
    record = awaited_supervisor(state)
    return {"event": "already-running", "url": record.url if record else "", "pid": record.pid if record else None}


class _Plain:
    @asynccontextmanager
    async def watching(self, host: Host) -> AsyncIterator[None]:  # noqa: ARG002 - the protocol's signature
        """Nothing to do."""
        yield


class JsonReport(_Plain):
    """Each event as one JSON object on a line of stdout."""

    def __call__(self, event: Event) -> None:
        click.echo(json_line(event))


class PipeReport(_Plain):
    """Events as JSON lines into a pipe, until its reader has gone."""

    def __init__(self, descriptor: int) -> None:
        self._pipe: int | None = descriptor
        os.set_inheritable(descriptor, False)

    def __call__(self, event: Event) -> None:
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, json_line(event).encode() + b"\n")
        except OSError:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            self._pipe = None


class TextReport(_Plain):
    """One line for each thing worth knowing."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._shown: dict[str, str] = {}
        self._ready = False

    def __call__(self, event: Event) -> None:
        for line in self.text(event):
            click.echo(line)

    def text(self, event: Event) -> list[str]:
        """The lines for an event; none for what is of no interest."""
        match event["event"]:
            case "process":
                return self._process(event)
            case "failing":
                indented = "\n".join(f"    {line}" for line in event["tail"].splitlines())
                return [f"{event['name']} keeps failing. Its last lines:\n{indented}\n  {event['fix']}"]
            case "ready":
                self._ready = True
                return self._welcome(event)
            case "administrator":
                return [
                    f"Administrator: {event['email']}  password: {event['password']}",
                    "  shown this once; keep it, or set TRADEWIND_ADMIN_EMAIL and TRADEWIND_ADMIN_PASSWORD yourself",
                ]
            case "already-running":
                return [f"already running at {event['url']} (pid {event['pid']}); `tradewind ps` shows it"]
            case "stopping":
                return ["stopping: draining, then in reverse order"]
            case "stopped":
                return ["stopped"]
            case "notice":
                return [event["text"]]
            case _:
                return []

    def _process(self, event: Event) -> list[str]:
        name, state = event["name"], event["state"]
        if "exit_code" in event:
            how = ended(event["exit_code"])
            pause = event["restart_in_s"]
            again = f"again in {pause:g} s" if pause else "started again"
            self._shown.pop(name, None)
            return [f"{name} {how}, {again}"]
        if self._shown.get(name) == state or state not in ("running", "done"):
            return []
        self._shown[name] = state
        return [f"{name} is {'ready' if state == 'running' else 'done'}"]

    def _welcome(self, event: Event) -> list[str]:
        record = self._state.supervisor()
        url = record.url if record else ""
        return [
            f"Ready in {event['elapsed_s']:.1f} s",
            f"  API      {url}   documentation {url}/docs",
            *(_tls(record) if record and record.tls_url else ()),
            f"  mail     {self._state.mail}   (tradewind mail ls)",
            f"  next     curl {url}/v1/products   or   tradewind ps",
        ]


def _tls(record: SupervisorRecord) -> list[str]:
    trust = f"   curl --cacert {record.tls_ca_file}" if record.tls_ca_file else ""
    return [f"  TLS      {record.tls_url}{trust}"]


def ended(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    import signal

    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
