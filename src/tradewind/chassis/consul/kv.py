"""Consul's keys: read, watch, write, and write only if nobody else did."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec

from tradewind.chassis.consul.client import Consul, ConsulAway, Seen

MAX_VALUE_BYTES = 512 * 1024
"""Consul's own limit."""
NEW = 0
"""The `modify_index` of a key that is not there yet, for `put(..., expected=NEW)`."""


class Entry(msgspec.Struct, frozen=True):
    """A key and its value. `modify_index` names this state of it, for `put(..., expected=modify_index)`."""

    key: str
    value: bytes
    modify_index: int


class _Wire(msgspec.Struct, rename="pascal"):
    key: str
    value: str | None
    modify_index: int


class ConsulKv:
    """Keys below `prefix` (`tradewind/config/`); all names here are without it."""

    def __init__(self, consul: Consul, prefix: str = "") -> None:
        self._consul = consul
        self._prefix = prefix

    async def get(self, key: str) -> Entry | None:
        """The entry at `key`, or None. Raises ConsulAway, ConsulRefused."""
        found = self._decoded(await self._consul.get(self._path(key)))
        return found[0] if found else None

    async def entries(self, folder: str = "") -> list[Entry]:
        """All entries whose key begins with `folder`, by key. Raises ConsulAway, ConsulRefused."""
        return self._decoded(await self._consul.get(self._path(folder), {"recurse": "true"}))

    async def watch(self, folder: str = "") -> AsyncIterator[list[Entry]]:
        """`entries(folder)` now and after each change; while Consul is away nothing comes, and nothing is raised."""
        async for seen in self._consul.watch(self._path(folder), {"recurse": "true"}):
            yield self._decoded(seen)

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> bool:
        """Write `value`. With `expected`, only if the key is still in that state; False when it is not.

        Raises:
            ValueError: it is longer than 512 KiB.
            ConsulAway, ConsulRefused
        """
        if len(value) > MAX_VALUE_BYTES:
            raise ValueError(f"{key}: {len(value)} bytes, and Consul takes at most {MAX_VALUE_BYTES}")
        condition = {} if expected is None else {"cas": str(expected)}
        return (await self._consul.put(self._path(key), value, condition)).strip() == b"true"

    async def delete(self, key: str) -> None:
        """Remove `key`, if it is there. Raises ConsulAway, ConsulRefused."""
        await self._consul.delete(self._path(key))

    def _path(self, key: str) -> str:
        return f"/v1/kv/{quote(self._prefix + key)}"

    def _decoded(self, seen: Seen) -> list[Entry]:
        if not seen.found:
            return []
        try:
            wire = msgspec.json.decode(seen.body, type=list[_Wire])
            return [
                Entry(each.key.removeprefix(self._prefix), base64.b64decode(each.value or ""), each.modify_index)
                for each in wire
            ]
        except (msgspec.MsgspecError, ValueError) as exc:
            raise ConsulAway(f"keys below {self._prefix!r}: {exc}") from exc
