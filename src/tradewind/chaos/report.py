"""What a run came to: for the terminal, for `--format json`, and for the table in the documentation."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

import msgspec

from tradewind.chaos.plan import Fault


class Struck(msgspec.Struct, kw_only=True):
    """A fault that was due. `at_s` from the beginning of the run; `pid` of the process it was aimed at, if any.

    `in_flight` requests at the moment it struck. `recovery_s` from when it was over (a kill: from when it struck) until
    everything was ready and a write that began afterwards had succeeded. `not_run` says why this machine could not do it.
    """

    wave: int
    fault: Fault
    at_s: float = 0.0
    pid: int | None = None
    in_flight: int = 0
    lasted_s: float = 0.0
    recovery_s: float | None = None
    note: str = ""
    not_run: str = ""


class Report(msgspec.Struct, kw_only=True):
    """One run. `problems` names each thing that is not as it must be, and where to look; none: the run was clean."""

    seed: int
    seconds: float
    rate_per_s: float
    struck: list[Struck] = msgspec.field(default_factory=list)
    requests: int = 0
    tried_again: dict[str, int] = msgspec.field(default_factory=dict)
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    acknowledged: dict[str, int] = msgspec.field(default_factory=dict)
    gave_up: int = 0
    replayed: int = 0
    settled_s: float = 0.0
    problems: list[str] = msgspec.field(default_factory=list)
    folder: str = ""
    """Where state and logs were kept; empty when they were deleted."""

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled, left pending or left running."""
        return not self.problems

    @property
    def fired(self) -> int:
        """Faults that were made."""
        return sum(not each.not_run for each in self.struck)


def struck_line(struck: Struck) -> str:
    """One fault, on one line."""
    head = f"{struck.at_s:6.1f} s  {struck.fault!s:<58}"
    if struck.not_run:
        return f"{head} not run: {struck.not_run}"
    pid = f"pid {struck.pid}" if struck.pid else ""
    recovery = f"well again after {struck.recovery_s:.1f} s" if struck.recovery_s is not None else "NOT WELL AGAIN"
    note = f", {struck.note}" if struck.note else ""
    return f"{head} {pid:<11} {struck.in_flight:>3} in flight, lasted {struck.lasted_s:.1f} s, {recovery}{note}"


def summary(report: Report) -> list[str]:
    """The run in a few lines."""
    told = ", ".join(f"{count} {act}" for act, count in report.acknowledged.items())
    again = ", ".join(f"{count} x {why}" for why, count in report.tried_again.items()) or "none"
    refused = ", ".join(f"{count} x {why}" for why, count in report.refused.items()) or "none"
    lines = [
        f"seed {report.seed}: {report.fired} faults, {report.requests} requests, acknowledged: {told}",
        f"tried again: {again}",
        f"refused: {refused}; given up: {report.gave_up}",
        f"nothing pending after {report.settled_s:.1f} s; {report.replayed} keys answered the same again",
        *(f"not run: {each.fault}: {each.not_run}" for each in report.struck if each.not_run),
        *(f"PROBLEM: {problem}" for problem in report.problems),
    ]
    if report.folder:
        lines.append(f"state and logs are kept in {report.folder}")
    return [*lines, f"seed {report.seed} is {'clean' if report.clean else 'NOT CLEAN'}"]


def table(reports: Sequence[Report]) -> str:
    """All runs, as the documentation keeps them (Markdown)."""
    lines = [_HEAD.format(seconds=reports[0].seconds, rate=reports[0].rate_per_s)]
    lines += [_row(report) for report in reports]
    clean = sum(report.clean for report in reports)
    lines.append(f"\n{clean} of {len(reports)} runs were clean.\n")
    lines += [f"* seed {report.seed}: {problem}" for report in reports for problem in report.problems]
    kinds = Counter(each.fault.kind for report in reports for each in report.struck if not each.not_run)
    lines += ["\n| kind | times | requests in flight, median | well again, median | longest |", "|---|---|---|---|---|"]
    lines += [_kind_row(kind, count, reports) for kind, count in kinds.most_common()]
    left = Counter(each.fault.kind for report in reports for each in report.struck if each.not_run)
    lines += [f"\nNot run on this machine: {kind}, {count} times." for kind, count in left.items()]
    return "\n".join(lines) + "\n"


_HEAD = """# Fault runs

Written by `make chaos`: `tradewind chaos` with {seconds:g} s of faults and {rate:g} requests a second, one seed after the other.
[What is injected and what is proved](../concepts/chaos.md).

| seed | faults | requests | in flight, least | orders | writes acknowledged | keys repeated | recovery, longest | all at rest after | verdict |
|---|---|---|---|---|---|---|---|---|---|"""


def _row(report: Report) -> str:
    fired = [each for each in report.struck if not each.not_run]
    cells = (
        report.seed,
        len(fired),
        report.requests,
        min((each.in_flight for each in fired), default=0),
        report.acknowledged.get("order", 0),
        sum(report.acknowledged.values()),
        report.replayed,
        f"{max((each.recovery_s or 0.0 for each in fired), default=0.0):.1f} s",
        f"{report.settled_s:.1f} s",
        "clean" if report.clean else "**not clean**",
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _kind_row(kind: str, count: int, reports: Sequence[Report]) -> str:
    struck = [each for report in reports for each in report.struck if each.fault.kind == kind and not each.not_run]
    flying = statistics.median(each.in_flight for each in struck)
    recovered = [each.recovery_s for each in struck if each.recovery_s is not None] or [0.0]
    return f"| `{kind}` | {count} | {flying:g} | {statistics.median(recovered):.1f} s | {max(recovered):.1f} s |"
