"""What the gateway remembers beside its registry: the last key set it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tradewind.chassis.logs import get_logger
from tradewind.mesh.state_file import StateFile
from tradewind.services.gateway.domain import usable_key_set

_log = get_logger(__name__)


class KeyStore:
    """The last known public keys, in memory and on disk: with auth down and all else restarted, tokens still pass."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._key_set = _read(file)

    @property
    def key_set(self) -> dict[str, Any] | None:
        """The key set, or None when none was ever known."""
        return self._key_set

    def save(self, key_set: dict[str, Any]) -> bool:
        """Keep `key_set`; False when it is what we have. It is served even if it cannot be written."""
        if key_set == self._key_set:
            return False
        self._key_set = key_set
        try:
            self._file.write(msgspec.json.encode(key_set))
        except OSError as exc:
            _log.error("the key set could not be saved", error=str(exc))
        return True


def registry_file(state_dir: str) -> StateFile:
    """Where the registry keeps what it knows."""
    return StateFile(Path(state_dir) / "registry.json")


def root_file(state_dir: str) -> StateFile:
    """The root of the mesh's certificates, with its private key."""
    return StateFile(Path(state_dir) / "ca.pem")


def keys_file(state_dir: str) -> StateFile:
    """Where the key set is kept."""
    return StateFile(Path(state_dir) / "jwks.json")


def last_policy_file(state_dir: str) -> StateFile:
    """Where the last policy file that was right is kept."""
    return StateFile(Path(state_dir) / "policy.toml")


def interventions_file(state_dir: str) -> StateFile:
    """Where it is kept what operators do to traffic."""
    return StateFile(Path(state_dir) / "interventions.json")


def _read(file: StateFile) -> dict[str, Any] | None:
    content = file.read()
    if content is None:
        return None
    try:
        return usable_key_set(msgspec.json.decode(content))
    except msgspec.MsgspecError as exc:
        _log.error("the key set on disk is unreadable", error=str(exc))
        return None
