"""Stores of the live settings: a file for the processes of one machine. `open_store` makes one of its URL."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from tradewind.chassis.live_document import LiveStore
from tradewind.mesh.live_stores.local import LocalStore


def open_store(url: str) -> LiveStore:
    """The store at `url`: `file:///path/to/live.json`.

    Raises:
        ValueError: it is none of these.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path:
        return LocalStore(unquote(parts.path))
    raise ValueError(f"LIVE_CONFIG_URL: {parts.scheme or 'nothing'}:// is no live store; file:///path is one")
