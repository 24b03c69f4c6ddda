"""What the customers of a run were told: every acknowledged write, on disk before the customer does anything else.

One JSON line an entry. The platform is held to this file afterwards, so it must not know less than the customers did.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import msgspec

Act: TypeAlias = Literal["register", "order", "cancel", "refund", "ship", "deliver", "confirm"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A write that was asked for (`status` 0: nobody knows what became of it) or acknowledged with `status`.

    `key` is its idempotency key, `subject` who asked, `order_id` what it was about, `answer` the body that came back.
    """

    act: Act
    key: str
    subject: str
    path: str
    body: Any = None
    order_id: str = ""
    status: int = 0
    answer: Any = None

    @property
    def acknowledged(self) -> bool:
        """Whether the customer was told that it is done."""
        return 200 <= self.status < 300


class Journal:
    """Appends to one file. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._one_at_a_time = asyncio.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._descriptor)

    async def asked(self, entry: Entry) -> None:
        """Note that a write goes out. Not flushed: it matters only while we live."""
        os.write(self._descriptor, msgspec.json.encode(entry) + b"\n")

    async def answered(self, entry: Entry) -> None:
        """Note an answer; returns once it is on disk."""
        os.write(self._descriptor, msgspec.json.encode(entry) + b"\n")
        async with self._one_at_a_time:
            await asyncio.to_thread(os.fsync, self._descriptor)


def read_journal(path: Path) -> list[Entry]:
    """The last word on each write, in the order they were first asked for."""
    found: dict[tuple[str, str], Entry] = {}
    for line in path.read_bytes().splitlines():
        entry = msgspec.json.decode(line, type=Entry)
        found[entry.subject, entry.key] = entry
    return list(found.values())
