"""What a live store keeps: one document with the values that are set, and how they came to be.

Values and history are one document, so that one write changes both or neither. Each change raises `version` by one; a
writer says which version it changes, and a store takes its document only if that is still the latest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import msgspec

MOST_CHANGES = 500
"""Kept in the history; the oldest go first."""
MOST_VALUES = 1_000
MAX_VALUE_CHARS = 1_000
MAX_REASON_CHARS = 200
MAX_DOCUMENT_BYTES = 512 * 1024
"""What Consul takes as one value."""


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One variable of a change; None is `not set`."""

    key: str
    old: str | None
    new: str | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What made `version` of the one before: who, when (UTC), why, and each variable that changed."""

    version: int
    at: datetime
    who: str
    reason: str
    edits: list[Edit]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The live values by variable, and the changes that led there, the oldest first."""

    version: int = 0
    values: Mapping[str, str] = msgspec.field(default_factory=dict)
    changes: list[Change] = msgspec.field(default_factory=list)

    def changed(self, values: Mapping[str, str | None], *, at: datetime, who: str, reason: str) -> Document:
        """The next version, with `values` set, or taken out where None.

        Raises:
            NothingChanges: it would be the same.
            DocumentFull: more than 1,000 values, or one longer than 1,000 characters.
        """
        edits = [
            Edit(key=key, old=self.values.get(key), new=new)
            for key, new in sorted(values.items())
            if self.values.get(key) != new
        ]
        if not edits:
            raise NothingChanges
        merged = {key: new for key, new in {**self.values, **values}.items() if new is not None}
        if len(merged) > MOST_VALUES or any(len(value) > MAX_VALUE_CHARS for value in merged.values()):
            raise DocumentFull
        change = Change(version=self.version + 1, at=at, who=who, reason=reason[:MAX_REASON_CHARS], edits=edits)
        return Document(version=self.version + 1, values=merged, changes=[*self.changes, change][-MOST_CHANGES:])

    def values_at(self, version: int) -> dict[str, str]:
        """The values as they were at `version`, by undoing what came after it.

        Raises:
            VersionUnknown: there was no such version, or the history does not reach back to it.
        """
        oldest = self.changes[0].version - 1 if self.changes else self.version
        if not oldest <= version <= self.version:
            raise VersionUnknown(oldest, self.version)
        values = dict(self.values)
        for change in reversed(self.changes):
            if change.version <= version:
                break
            for edit in change.edits:
                if edit.old is None:
                    values.pop(edit.key, None)
                else:
                    values[edit.key] = edit.old
        return values


class NothingChanges(Exception):
    """The change would leave everything as it is."""


class DocumentFull(Exception):
    """The change would make the document larger than a store takes."""


class VersionUnknown(Exception):
    """`args` are the oldest and the newest version that are known."""


class Outrun(Exception):
    """Another writer was first: `latest` is what the store holds now."""

    def __init__(self, latest: Document) -> None:
        super().__init__(f"version {latest.version} is the latest")
        self.latest = latest


class StoreAway(Exception):
    """The store cannot be read or written; the message says why."""


class LiveStore(Protocol):
    """Where the live document is kept, the same for all instances."""

    async def read(self) -> Document:
        """The latest document; an empty one before the first change.

        Raises:
            StoreAway: it cannot be read, or is none.
        """
        ...

    async def write(self, document: Document) -> None:
        """Take `document` if it follows the latest; on return it is durable.

        Raises:
            Outrun: it does not.
            StoreAway: it cannot be written; what was there is still there.
        """
        ...

    async def wait(self, seen: int, timeout_s: float) -> Document:
        """The latest document: at once if its version is not `seen`, else after the next change or `timeout_s`.

        Raises:
            StoreAway: it cannot be read.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; it may be used again."""
        ...
