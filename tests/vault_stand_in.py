"""Answers as the documented HTTP API of Vault's KV version 2 does: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2.

No real server stands behind it: it was written from that page, and so says whether we speak as the page has it.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

MOUNT = "secret"
TOKEN = "hvs.stand-in"


@dataclass
class VaultStandIn:
    """`versions` by path; the last is the newest, None one that was deleted. `sealed`: 503 to everything."""

    url: str = ""
    versions: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)
    sealed: bool = False
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def vault() -> Iterator[VaultStandIn]:
    """One that listens on a free port of this machine."""
    state = VaultStandIn()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        do_POST = do_PUT = do_LIST = do_GET  # noqa: N815 - names that http.server looks for

        def _serve(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            path = unquote(urlsplit(self.path).path)
            listing = self.command == "LIST" or "list=true" in self.path
            state.asked.append(f"{self.command} {path}")
            status, answer = self._answer(path, body, listing=listing)
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _answer(self, path: str, body: dict[str, Any], *, listing: bool) -> tuple[int, dict[str, Any]]:
            if state.sealed:
                return 503, {"errors": ["Vault is sealed"]}
            if self.headers.get("x-vault-token") != TOKEN:
                return 403, {"errors": ["permission denied"]}
            data, metadata = f"/v1/{MOUNT}/data/", f"/v1/{MOUNT}/metadata/"
            if path.startswith(metadata) and listing:
                below = path.removeprefix(metadata).rstrip("/") + "/"
                keys = sorted(name.removeprefix(below) for name in state.versions if name.startswith(below))
                return (200, {"data": {"keys": keys}}) if keys else (404, {"errors": []})
            if path.startswith(metadata):
                known = state.versions.get(path.removeprefix(metadata))
                if known is None:
                    return 404, {"errors": []}
                return 200, {"data": {"current_version": len(known), "updated_time": _now(), "versions": {}}}
            if path.startswith(data) and self.command == "GET":
                known = state.versions.get(path.removeprefix(data))
                if known is None:
                    return 404, {"errors": []}
                deleted = known[-1] is None
                about = {
                    "created_time": _now(),
                    "deletion_time": _now() if deleted else "",
                    "destroyed": False,
                    "version": len(known),
                }
                return 404 if deleted else 200, {"data": {"data": known[-1], "metadata": about}}
            if path.startswith(data):
                known = state.versions.setdefault(path.removeprefix(data), [])
                if (cas := body.get("options", {}).get("cas")) is not None and cas != len(known):
                    return 400, {"errors": ["check-and-set parameter did not match the current version"]}
                known.append(body["data"])
                return 200, {
                    "data": {"created_time": _now(), "deletion_time": "", "destroyed": False, "version": len(known)}
                }
            return 404, {"errors": []}

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
