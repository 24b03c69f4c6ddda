"""The log files of a stack: one per process, written by the process itself, kept small by us.

Children write straight into their file (append mode), so that their last words survive a supervisor that was killed and
a busy one never slows them down. A file over the limit is copied to `NAME.log.1` and emptied: what is written between
the last look and the emptying, microseconds, is lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tradewind.stack.errors import StackError

LIMIT_BYTES = 16 * 1024 * 1024
_TAIL_BYTES = 16 * 1024


def rotate(folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> list[Path]:
    """Move the content of every log over the limit into its `.1`; return the files that were emptied."""
    rotated = []
    for path in folder.glob("*.log"):
        if path.stat().st_size > limit_bytes:
            _empty(path)
            rotated.append(path)
    return rotated


def tail_text(path: Path, *, lines: int = 12) -> str:
    """The last lines of a log, without colours; empty when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            said = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(said.rstrip().splitlines()[-lines:])


def known(folder: Path) -> list[str]:
    """Names of all processes that have a log."""
    return sorted(path.stem for path in folder.glob("*.log"))


def chosen(folder: Path, names: Sequence[str]) -> list[str]:
    """The processes that `names` (rooms or processes; none means all) stand for.

    Raises StackError for a name without a log.
    """
    there = known(folder)
    if not names:
        return there
    found = {name: [each for each in there if each == name or _is_instance(each, name)] for name in names}
    if missing := [name for name, matches in found.items() if not matches]:
        raise StackError(
            f"there are no logs of {', '.join(missing)}", f"there are some of {', '.join(there) or 'nothing'}"
        )
    return sorted({each for matches in found.values() for each in matches})


def files_of(folder: Path, name: str) -> list[Path]:
    """The log files of a process, the oldest first."""
    return [folder / f"{name}.log.1", folder / f"{name}.log"]


def _is_instance(process: str, room: str) -> bool:
    head, _, number = process.rpartition("-")
    return head == room and number.isdigit()


def _empty(path: Path) -> None:
    with path.open("rb") as source, path.with_suffix(".log.1").open("wb") as kept:
        shutil.copyfileobj(source, kept)
        while late := source.read():  # what arrived while we copied
            kept.write(late)
        os.truncate(path, 0)
