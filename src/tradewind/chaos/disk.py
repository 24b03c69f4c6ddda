"""A small disk for PostgreSQL's data, and a ballast that fills it. Mounting needs rights that not every machine gives."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from pathlib import Path

DISK_MIB = 384
"""Room for the clusters, 512 MB of WAL at most, of which a short run writes little."""
CHUNK_BYTES = 1024 * 1024
MOUNT_TIMEOUT_S = 10.0
_NAME = "ballast"


class SmallDisk:
    """A tmpfs at `folder` from `mount` to `unmount`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mount(self) -> bool:
        """Make it; False where that is not allowed."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mount = shutil.which("mount")
        if mount is None or os.geteuid() != 0:
            return False
        options = f"size={DISK_MIB}m,mode=0700"
        done = subprocess.run(
            [mount, "-t", "tmpfs", "-o", options, "tradewind-chaos", str(self._folder)],
            capture_output=True,
            timeout=MOUNT_TIMEOUT_S,
            check=False,
        )
        return done.returncode == 0

    def unmount(self, *, keep: bool) -> None:
        """Give the memory back; with `keep` what was on it stays in the folder."""
        if not os.path.ismount(self._folder):
            return
        kept = self._folder.with_name(f"{self._folder.name}.kept")
        if keep:
            shutil.copytree(self._folder, kept, symlinks=True)
        subprocess.run(["umount", str(self._folder)], capture_output=True, timeout=MOUNT_TIMEOUT_S, check=False)
        if keep and not os.path.ismount(self._folder):
            self._folder.rmdir()
            kept.rename(self._folder)


class Ballast:
    """A file that leaves no room for anything else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _NAME

    @property
    def possible(self) -> bool:
        """Whether the folder is a disk of its own; to fill the machine's would hit everybody."""
        return os.path.ismount(self._folder)

    def fill(self) -> int:
        """Write until nothing more fits; bytes written."""
        size = 0
        for chunk in (bytes(CHUNK_BYTES), bytes(4096)):
            with self._path.open("ab", buffering=0) as file:
                try:
                    while True:
                        size += file.write(chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        return size

    def remove(self) -> None:
        """Let others write again."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
