"""`python -m tests.mutation [NAME...]`: every safeguard, or these; exit code 0 when each removal turned a test red.

`--list` prints their names, `--report FILE` writes the outcome as Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.run import Verdict, select, with_all, without

_HEAD = """# Safeguards, and the tests that notice when one is gone

Written by `make mutate`, which takes one safeguard at a time out of a copy of the source and runs the tests that guard it. A
safeguard whose removal no test notices fails the run. The table is `tests/mutation/safeguards.py`; before anything is
removed, the same tests pass on an unchanged copy.

| safeguard | what it keeps | taken out of | red without it |
|---|---|---|---|
"""


def main(arguments: Sequence[str]) -> int:
    """Run the check and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", help="safeguards; default: all")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--report", type=Path, help="write the outcome to this file")
    options = parser.parse_args(arguments)
    try:
        safeguards = select(options.names)
    except LookupError as error:
        parser.error(str(error))
    width = max(len(safeguard.name) for safeguard in safeguards) + 2
    if options.list:
        print("\n".join(f"{safeguard.name:<{width}}{safeguard.promise}" for safeguard in safeguards))
        return 0
    print(f"the tests of {len(safeguards)} safeguards on an unchanged copy", flush=True)
    if wrong := with_all(safeguards):
        print(f"{wrong}\nthey are not green with everything in place; mend that first")
        return 1
    verdicts: list[Verdict] = []
    for number, safeguard in enumerate(safeguards, 1):
        verdict = without(safeguard)
        verdicts.append(verdict)
        print(f"[{number}/{len(safeguards)}] {safeguard.name:<{width}}{_said(verdict)}", flush=True)
    if options.report:
        options.report.write_text(_HEAD + "".join(map(_row, verdicts)), encoding="utf-8")
    missed = [verdict.safeguard.name for verdict in verdicts if not verdict.red]
    print(f"{len(verdicts) - len(missed)} passed, {len(missed)} failed")
    if missed:
        print(f"no test noticed that these were gone: {', '.join(missed)}")
    return 1 if missed else 0


def _said(verdict: Verdict) -> str:
    if verdict.trouble:
        return f"NOT RUN: {verdict.trouble}"
    return f"red: {verdict.red[0]} ({verdict.took_s:.0f} s)" if verdict.red else f"STILL GREEN ({verdict.took_s:.0f} s)"


def _row(verdict: Verdict) -> str:
    safeguard = verdict.safeguard
    files = ", ".join(f"`{edit.file}`" for edit in safeguard.edits)
    red = f"`{verdict.red[0].rpartition('/')[2]}`" if verdict.red else "**nothing**"
    return f"| `{safeguard.name}` | {safeguard.promise} | {files} | {red} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
