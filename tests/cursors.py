"""Cursors that no page ever gave out."""

from __future__ import annotations

import base64

import msgspec

IMPOSSIBLE_MOMENTS = (
    "2026-01-01T00:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "yesterday",
)
"""Times that a list cannot have shown: without an offset, or out of range in UTC, where all times are kept."""


def cursor(position: object) -> str:
    """`position` as a list writes it into `next_cursor`."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()
