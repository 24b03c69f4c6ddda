"""One stream out of many logs: lines of services, PostgreSQL, Valkey, Envoy and Python read into records, in order of time."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

LEVELS = ("debug", "info", "warning", "error", "critical")
_ALIASES = {
    "warn": "warning",
    "trace": "debug",
    "log": "info",
    "notice": "info",
    "fatal": "critical",
    "panic": "critical",
    ".": "debug",
    "-": "info",
    "*": "info",
    "#": "warning",
}
_STAMPED = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)[.,](?P<fraction>\d+)(?:Z| UTC|[+-]\d\d:?\d\d)?\s+"
    r"(?:\[\d+\]\s+)?(?P<rest>.*)",
    re.DOTALL,
)
_LEVEL_FIRST = re.compile(r"(?P<level>[A-Za-z]+):?\s+(?P<text>.*)", re.DOTALL)
_POSTGRES_LEVEL = re.compile(
    r"(?P<who>.*?)\b(?P<level>DEBUG\d?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC):\s+(?P<text>.*)"
)
_POSTGRES_DETAIL = re.compile(r".*?\b(STATEMENT|DETAIL|HINT|CONTEXT):\s+")
_VALKEY = re.compile(r"\d+:\w (?P<time>\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d+) (?P<level>[.\-*#]) (?P<text>.*)")

_VALKEY_SIGNAL = re.compile(r"\d+:signal-handler \((?P<at>\d+)\) (?P<text>.*)")


@dataclass
class Record:
    """One log entry: `at` in seconds since the epoch, `fields` what a JSON line says beyond the rest, `raw` as written.

    Lines that carry no time of their own (stack traces, statements) belong to the entry above them.
    """

    at: float
    name: str
    level: str
    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    raw: str = ""


class Reader:
    """Turns the lines of one log into records. `name` is the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: Record | None = None

    def read(self, lines: Iterable[bytes]) -> Iterator[Record]:
        """Records of which the end is known; the last one comes with `rest`."""
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r\n")
            if not text:
                continue
            record = parse(self._name, text)
            if record is not None:
                yield from self.rest()
                self._open = record
            elif self._open is not None:
                self._open.text += f"\n{text}"
                self._open.raw += f"\n{text}"
            else:  # before the first line with a time; sorts to the front
                self._open = Record(0.0, self._name, "info", text, raw=text)

    def rest(self) -> Iterator[Record]:
        """The record that more lines might still have belonged to."""
        if self._open is not None:
            yield self._open
            self._open = None


def parse(name: str, line: str) -> Record | None:
    """Read one line; None when it has no time of its own and continues the one before."""
    if line.startswith("{") and (record := _json(name, line)) is not None:
        return record
    if (stamped := _STAMPED.match(line)) is not None:
        return _plain(name, line, stamped)
    if (valkey := _VALKEY.match(line)) is not None:
        at = datetime.strptime(valkey["time"], "%d %b %Y %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
        return Record(at, name, level_of(valkey["level"]), valkey["text"], raw=line)
    if (caught := _VALKEY_SIGNAL.match(line)) is not None:
        return Record(float(caught["at"]), name, "info", caught["text"], raw=line)
    return None


def level_of(word: str) -> str:
    """Our name of a level that somebody else named; `info` for an unknown one."""
    lowered = word.lower().rstrip("0123456789")
    lowered = _ALIASES.get(lowered, lowered)
    return lowered if lowered in LEVELS else "info"


def merged(
    files: Sequence[tuple[str, Sequence[Path]]], *, since: float = 0.0, level: str = "debug", trace: str = ""
) -> Iterator[Record]:
    """Everything in `files` (name of the process, its files from the oldest on) in order of time, filtered."""
    streams = [_stream(name, paths) for name, paths in files]
    return (record for record in heapq.merge(*streams, key=lambda each: each.at) if wanted(record, since, level, trace))


def wanted(record: Record, since: float = 0.0, level: str = "debug", trace: str = "") -> bool:
    """Whether a record is not older than `since`, not below `level`, and mentions `trace`."""
    return (
        record.at >= since and LEVELS.index(record.level) >= LEVELS.index(level) and (not trace or trace in record.raw)
    )


def _stream(name: str, paths: Sequence[Path]) -> Iterator[Record]:
    reader = Reader(name)
    for path in paths:
        if path.exists():
            with path.open("rb") as lines:
                yield from reader.read(lines)
    yield from reader.rest()


def _json(name: str, line: str) -> Record | None:
    try:
        said = msgspec.json.decode(line, type=dict[str, Any])
        at = datetime.fromisoformat(str(said.pop("ts"))).timestamp()
    except (msgspec.MsgspecError, KeyError, ValueError):
        return None
    level = level_of(str(said.pop("level", "info")))
    text = str(said.pop("event", ""))
    exception = said.pop("exception", None)
    if isinstance(exception, dict) and "stack" in exception:
        text += "\n" + str(exception["stack"]).rstrip()
    for known in ("service", "instance"):
        said.pop(known, None)
    return Record(at, name, level, text, said, line)


def _plain(name: str, line: str, stamped: re.Match[str]) -> Record | None:
    if _POSTGRES_DETAIL.match(stamped["rest"]):
        return None
    moment = f"{stamped['day']}T{stamped['time']}.{stamped['fraction'][:6]}+00:00"
    try:
        at = datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return None
    if (postgres := _POSTGRES_LEVEL.match(stamped["rest"])) is not None:
        who = postgres["who"].strip()
        return Record(at, name, level_of(postgres["level"]), postgres["text"], {"by": who} if who else {}, line)
    if (first := _LEVEL_FIRST.match(stamped["rest"])) and first["level"].lower() in (*LEVELS, *_ALIASES):
        return Record(at, name, level_of(first["level"]), first["text"], raw=line)
    return Record(at, name, "info", stamped["rest"], raw=line)
