"""Identifiers: UUID version 7 (RFC 9562), so that new rows land at the end of an index."""

from __future__ import annotations

import os
import re
import time
from uuid import UUID

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    """A new UUIDv7 as text: 48 bits of Unix milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in the canonical lower-case form this platform writes."""
    return _UUID.fullmatch(text) is not None


def made_at_ms(id_: str) -> int | None:
    """When `new_id` made this one, in Unix milliseconds; None for what it did not make."""
    if not is_id(id_) or id_[14] != "7":
        return None
    return int(id_[:8] + id_[9:13], 16)
