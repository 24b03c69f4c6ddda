"""A small file that is always whole: after a crash it holds the old content or the new, never a part of either."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


class StateFile:
    """One file, replaced as a whole. Readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writing = threading.Lock()

    def read(self) -> bytes | None:
        """The content, or None before the first write."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, content: bytes) -> None:
        """Replace the content; returns when it is on disk. May be called from any thread; the last caller wins.

        Raises:
            OSError: it could not be written; the old content is still there.
        """
        with self._writing:
            self._replace(content)

    def set_aside(self) -> Path:
        """Move an unreadable file out of the way, and say where to."""
        aside = self.path.with_name(f"{self.path.name}.broken")
        self.path.replace(aside)
        return aside

    def _replace(self, content: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        self._sync_folder()

    def _sync_folder(self) -> None:
        # The rename itself is only durable once the folder is.
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
