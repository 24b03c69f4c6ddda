"""`tradewind logs`."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from tradewind.cli.output import FORMAT, json_line
from tradewind.stack import logfiles
from tradewind.stack.logstream import LEVELS, Reader, Record, level_of, merged, wanted
from tradewind.stack.state import State

FOLLOW_POLL_S = 0.1
_SHORT = {"warning": "warn", "critical": "fatal"}
_REQUEST = {"method", "path", "status", "duration_us"}
"""An entry with these fields is of an access log; of the rest only what helps to follow it is shown."""
_REQUEST_SHOWN = ("cluster", "tries", "flags", "trace_id", "traceparent", "request_id", "caller")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEVEL_COLOURS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
_NAME_COLOURS = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")


def _moment(_context: click.Context, _option: click.Parameter, value: str | None) -> float:
    """`--since`: `90s`, `5m`, `2h`, `1d`, or a time such as 2026-01-31T12:00:00Z; seconds since the epoch."""
    if not value:
        return 0.0
    if found := re.fullmatch(r"(\d+)([smhd])", value):
        return time.time() - int(found[1]) * _UNITS_S[found[2]]
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a span (5m) nor a time (2026-01-31T12:00:00Z)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _level(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if level_of(value) == "info" and value.lower() != "info":
        raise click.BadParameter(f"{value!r} is none of {', '.join(LEVELS)}")
    return level_of(value)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("--since", callback=_moment, metavar="5m", help="Nothing older: a span or a time.")
@click.option("--level", default="debug", callback=_level, metavar="warn", help="Nothing below this level.")
@click.option("--trace", default="", metavar="ID", help="Only what mentions this trace.")
@click.option("-n", "--last", type=click.IntRange(min=1), metavar="N", help="Only the last N entries so far.")
@FORMAT
def logs(
    names: tuple[str, ...], follow: bool, since: float, level: str, trace: str, last: int | None, format_: str
) -> None:
    """All logs as one stream in order of time. NAME is a room or a process: order, order-1, envoy, supervisor."""
    folder = State.of(os.environ).logs
    if not logfiles.known(folder):
        click.echo(f"no logs in {folder} yet; start the platform with `tradewind up`", err=True)
        return
    show = _json if format_ == "json" else _Text(colour=sys.stdout.isatty())
    tails = {name: _Tail(folder, name) for name in logfiles.chosen(folder, names)} if follow else {}
    so_far = merged(
        [(name, logfiles.files_of(folder, name)) for name in logfiles.chosen(folder, names)],
        since=since,
        level=level,
        trace=trace,
    )
    try:
        for record in deque(so_far, maxlen=last) if last else so_far:
            click.echo(show(record))
        while follow:
            time.sleep(FOLLOW_POLL_S)
            for record in _news(folder, names, tails):
                if wanted(record, since, level, trace):
                    click.echo(show(record))
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - so that the interpreter's last flush is quiet


def _news(folder: Path, names: Sequence[str], tails: dict[str, _Tail]) -> list[Record]:
    """What was written since the last look, also by processes that are new."""
    for name in logfiles.chosen(folder, names):
        tails.setdefault(name, _Tail(folder, name, from_start=True))
    return sorted((record for tail in tails.values() for record in tail.news()), key=lambda record: record.at)


class _Tail:
    """The growing end of one log."""

    def __init__(self, folder: Path, name: str, *, from_start: bool = False) -> None:
        self._path = folder / f"{name}.log"
        self._reader = Reader(name)
        self._position = 0 if from_start else self._size()
        self._pending = b""

    def news(self) -> Iterator[Record]:
        """Complete records since the last call."""
        size = self._size()
        if size < self._position:  # it was rotated
            self._position, self._pending = 0, b""
        if size > self._position:
            with self._path.open("rb") as log:
                log.seek(self._position)
                chunk = log.read(size - self._position)
            self._position += len(chunk)
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            yield from self._reader.read(lines)
        else:
            yield from self._reader.rest()

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def _json(record: Record) -> str:
    at = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds")
    return json_line(
        {"ts": at, "name": record.name, "level": record.level, "event": record.text, "fields": record.fields}
    )


class _Text:
    """Records as lines for people: time, process, level, text, fields."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._widest = 14

    def __call__(self, record: Record) -> str:
        at = datetime.fromtimestamp(record.at, UTC).strftime("%H:%M:%S.%f")[:-3]
        self._widest = max(self._widest, len(record.name))
        name, level = record.name.ljust(self._widest), _SHORT.get(record.level, record.level).ljust(5)
        head, _, more = record.text.partition("\n")
        shown = record.fields
        if shown.keys() >= _REQUEST:
            head = f"{shown['method']} {shown['path']} {shown['status']}  {shown['duration_us'] / 1000:.1f} ms"
            shown = {key: shown[key] for key in _REQUEST_SHOWN if shown.get(key, "-") != "-"}
        fields = " ".join(f"{key}={_short(value)}" for key, value in shown.items())
        if self._colour:
            at = click.style(at, fg="bright_black")
            name = click.style(name, fg=_NAME_COLOURS[sum(record.name.encode()) % len(_NAME_COLOURS)])
            level = click.style(level, fg=_LEVEL_COLOURS.get(record.level))
            fields = click.style(fields, fg="bright_black") if fields else ""
        below = "".join(f"\n    {line}" for line in more.splitlines())
        return f"{at} {name} {level} {head}{'  ' + fields if fields else ''}{below}"


def _short(value: object) -> str:
    return value if isinstance(value, str) else json_line(value)
