"""How one Envoy and its successor find each other: a base id, and the shared memory that is named after it."""

from __future__ import annotations

import hashlib
from pathlib import Path

_IDS = 100_000_000


def base_id(folder: Path) -> int:
    """The id of the Envoys that belong to the state folder `folder`: the same at each start, different for others."""
    return int(hashlib.sha256(bytes(folder)).hexdigest()[:12], 16) % _IDS + 1


def forget_shared_memory(folder: Path) -> None:
    """Remove what the Envoys of `folder` leave in memory when they end."""
    Path(f"/dev/shm/envoy_shared_memory_{base_id(folder) * 10}").unlink(missing_ok=True)  # noqa: S108 - Envoy's name
