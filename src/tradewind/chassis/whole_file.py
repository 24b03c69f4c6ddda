"""Small files that are always whole: after a crash there is the old content or the new, never a part of either."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Replace the content of `path` in one step, readable by its owner only; returns when it is on disk.

    Raises:
        OSError: it could not be written; the old content is still there.
    """
    beside = written_beside(path, content)
    try:
        beside.replace(path)
    except OSError:
        _forget(beside)
        raise
    # The rename itself is only durable once the folder is.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def written_beside(path: Path, content: bytes) -> Path:
    """A new file in the folder of `path`, on disk and readable by its owner only: to be renamed or linked to `path`.

    Raises:
        OSError: it could not be written, and is not there.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        _forget(beside)
        raise
    return beside


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
