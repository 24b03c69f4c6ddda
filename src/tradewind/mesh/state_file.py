"""A small file of the control plane's, always whole."""

from __future__ import annotations

import threading
from pathlib import Path

from tradewind.chassis.whole_file import replace_file


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
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, content)

    def set_aside(self) -> Path:
        """Move an unreadable file out of the way, and say where to."""
        aside = self.path.with_name(f"{self.path.name}.broken")
        self.path.replace(aside)
        return aside
