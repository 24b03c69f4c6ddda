"""Where the table in force comes from: our rows, the file over them, or the last file that was right.

A wrong file changes nothing. While the process runs the table before it stays; at a start the last good file, kept in
the state folder, stands in for it, and without one our own rows do. What is wrong is told until it is mended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from tradewind.chassis.logs import get_logger
from tradewind.mesh.policy.file import MAX_FILE_BYTES, Fault, PolicyInvalid, overlaid
from tradewind.mesh.policy.table import PolicyTable
from tradewind.mesh.state_file import StateFile

Origin: TypeAlias = Literal["built in", "file", "last good file"]

_log = get_logger(__name__)


class PolicySource:
    """The file at `path` (None: there is none) over the rows `ours`; `kept` is where the last good one is."""

    def __init__(self, ours: PolicyTable, path: Path | None, kept: StateFile) -> None:
        self._ours = ours
        self._path = path
        self._kept = kept
        self._seen: bytes | None = None
        self.table = ours
        self.origin: Origin = "built in"
        self.faults: tuple[Fault, ...] = ()
        self.read()
        if self.wrong:
            self._fall_back()

    @property
    def wrong(self) -> bool:
        """Whether the file, as it is now, cannot be in force."""
        return bool(self.faults)

    @property
    def file(self) -> str:
        """The file's path; empty when there is none."""
        return str(self._path or "")

    def read(self) -> bool:
        """Look at the file, and take it if it is new and right; True when another table is in force."""
        if self._path is None:
            return False
        try:
            content = _content(self._path)
        except OSError as exc:
            self._refuse([Fault("", "", f"the file cannot be read: {exc.strerror or exc}", "")])
            self._seen = None
            return False
        if content == self._seen:
            return False
        self._seen = content
        try:
            table = _overlaid(content, self._ours)
        except PolicyInvalid as exc:
            self._refuse(exc.faults)
            return False
        changed = table != self.table
        self.table, self.origin, self.faults = table, "file", ()
        self._keep(content)
        _log.info("the policy file is in force", file=self.file, services=len(table.services), routes=len(table.routes))
        return changed

    def _refuse(self, faults: list[Fault]) -> None:
        if tuple(faults) != self.faults:
            for fault in faults:
                _log.error(
                    "the policy file is wrong; what was in force stays",
                    file=self.file,
                    code=fault.code,
                    fault=str(fault),
                )
        self.faults = tuple(faults)

    def _fall_back(self) -> None:
        kept = self._kept.read()
        if kept is None:
            _log.error("the built-in policy is in force: no policy file was ever right", file=self.file)
            return
        try:
            self.table, self.origin = _overlaid(kept, self._ours), "last good file"
            _log.error("the last good policy file is in force", file=self.file, kept_as=str(self._kept.path))
        except PolicyInvalid as exc:
            _log.error("the built-in policy is in force: the last good file is none any more", error=str(exc))

    def _keep(self, content: bytes) -> None:
        try:
            self._kept.write(content)
        except OSError as exc:
            _log.error("the policy file could not be kept for the next start", error=str(exc))


class PolicyStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force, and what is wrong with the file."""

    origin: Origin
    file: str
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _overlaid(content: bytes, ours: PolicyTable) -> PolicyTable:
    if len(content) > MAX_FILE_BYTES:
        raise PolicyInvalid([Fault("", "", f"the file is longer than {MAX_FILE_BYTES} bytes", "")])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PolicyInvalid([Fault("", "", f"the file is not UTF-8: {exc.reason} at byte {exc.start}", "")]) from exc
    return overlaid(text, ours)
