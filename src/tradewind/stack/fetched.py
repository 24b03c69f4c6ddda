"""A cache of what no package index has: each thing in a folder of its own, which is there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where fetched things are kept: `TRADEWIND_CACHE`, else `tradewind` in the user's cache folder."""
    if named := environ.get("TRADEWIND_CACHE"):
        return Path(named)
    home = environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(home) / "tradewind"


def fetched(folder: Path, fetch: Callable[[Path], Path]) -> None:
    """Have `fetch` make `folder`, in a cache folder, unless it is there: in a fresh folder, of which it returns what to keep.

    Two that fetch at once would both pay for it, so the second waits for the first. Raises what `fetch` raises.
    """
    cache = folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    name = folder.name.split("-")[0]
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return
        fresh = Path(tempfile.mkdtemp(dir=cache))
        try:
            # The name appears only when all is there.
            fetch(fresh).rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
