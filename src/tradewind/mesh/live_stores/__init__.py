"""Stores of the live settings: a file for the processes of one machine, Consul for many. `open_store` makes one of its URL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tradewind.chassis.consul.address import SCHEMES, ConsulAddress
from tradewind.chassis.live_document import LiveStore
from tradewind.chassis.settings import Secret
from tradewind.mesh.live_stores.consul import ConsulStore
from tradewind.mesh.live_stores.local import LocalStore

CONSUL_KEY = "tradewind/config"
"""Where the URL names no key."""


def open_store(url: str, environ: Mapping[str, str]) -> LiveStore:
    """The store at `url`: `file:///path/to/live.json`, or `consul://host:8500/key`, `consuls://` with TLS.

    For Consul `environ` may hold CONSUL_HTTP_TOKEN (or CONSUL_HTTP_TOKEN_FILE), CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY.

    Raises:
        ValueError: it is none of these, or the token's file cannot be read.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path:
        return LocalStore(unquote(parts.path))
    if parts.scheme in SCHEMES:
        address = ConsulAddress.parse(
            f"{parts.scheme}://{parts.netloc}",
            _token(environ),
            ca_file=environ.get("CONSUL_CACERT", ""),
            certificate_file=environ.get("CONSUL_CLIENT_CERT", ""),
            key_file=environ.get("CONSUL_CLIENT_KEY", ""),
        )
        return ConsulStore(address, unquote(parts.path).strip("/") or CONSUL_KEY)
    raise ValueError(
        f"LIVE_CONFIG_URL: {parts.scheme or 'nothing'}:// is no live store; file:///path and consul://host:8500 are"
    )


def _token(environ: Mapping[str, str]) -> Secret | None:
    if text := environ.get("CONSUL_HTTP_TOKEN"):
        return Secret(text)
    if path := environ.get("CONSUL_HTTP_TOKEN_FILE"):
        try:
            return Secret(Path(path).read_text().strip())
        except OSError as exc:
            raise ValueError(f"CONSUL_HTTP_TOKEN_FILE: cannot be read: {exc.strerror or exc}") from exc
    return None
