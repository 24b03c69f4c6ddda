"""The live settings of a platform on many machines: one key of Consul.

A write names the state of the key that it follows (Consul's check-and-set), and a reader hangs on a blocking query, so it
hears of a change at once.
"""

from __future__ import annotations

import time

import msgspec

from tradewind.chassis.consul import Consul, ConsulAddress, ConsulKv, ConsulProblem
from tradewind.chassis.consul.kv import NEW
from tradewind.chassis.live_document import Document, Outrun, StoreAway


class ConsulStore:
    """The key `key` of the Consul at `address`. Belongs to one event loop; `close` lets it be used in another."""

    def __init__(self, address: ConsulAddress, key: str) -> None:
        self._consul = Consul(address)
        self._kv = ConsulKv(self._consul)
        self._key = key
        self._index = 0
        self._told = -1
        """The version that `_index` stands for."""

    async def read(self) -> Document:
        """As `LiveStore.read`."""
        return (await self._state())[0]

    async def write(self, document: Document) -> None:
        """As `LiveStore.write`."""
        latest, state = await self._state()
        if document.version != latest.version + 1:
            raise Outrun(latest)
        try:
            written = await self._kv.put(self._key, msgspec.json.encode(document), expected=state)
        except (ConsulProblem, ValueError) as exc:
            raise StoreAway(f"Consul does not take {self._key}: {exc}") from exc
        if not written:
            raise Outrun(await self.read())

    async def wait(self, seen: int, timeout_s: float) -> Document:
        """As `LiveStore.wait`."""
        give_up_s = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, give_up_s - time.monotonic())
            index = self._index if self._told == seen and left_s > 0 else 0
            asked = {"raw": "true", **({"index": str(index), "wait": f"{left_s:.3f}s"} if index else {})}
            try:
                answer = await self._consul.get(f"/v1/kv/{self._key}", asked, wait_s=left_s if index else 0.0)
            except ConsulProblem as exc:
                self._told = -1
                raise StoreAway(f"Consul does not answer for {self._key}: {exc}") from exc
            document = self._decoded(answer.body) if answer.found else Document()
            # An index that goes backwards is that of a restored or new agent: ask anew, by Consul's own rule.
            self._index = max(answer.index, 1) if answer.index >= index else 0
            self._told = document.version
            if document.version != seen or left_s <= 0:
                return document

    async def close(self) -> None:
        """As `LiveStore.close`."""
        await self._consul.close()

    async def _state(self) -> tuple[Document, int]:
        try:
            entry = await self._kv.get(self._key)
        except ConsulProblem as exc:
            raise StoreAway(f"Consul does not answer for {self._key}: {exc}") from exc
        return (Document(), NEW) if entry is None else (self._decoded(entry.value), entry.modify_index)

    def _decoded(self, content: bytes) -> Document:
        try:
            return msgspec.json.decode(content, type=Document)
        except msgspec.MsgspecError as exc:
            raise StoreAway(f"Consul's key {self._key} is no document of live settings: {exc}") from exc
