"""Calls an ASGI application without a socket."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.types import ASGIApp


class Response(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body) if self.body else None


async def call(
    app: ASGIApp,
    method: str,
    target: str,
    *,
    body: bytes | None = None,
    json: Any = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """One request to `app`."""
    path, _, query = target.partition("?")
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if json is not None:
        body = msgspec.json.encode(json)
    if body is not None:
        sent.setdefault("content-type", "application/json")
        sent.setdefault("content-length", str(len(body)))
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1), "server": ("test", 80),
    }  # fmt: skip
    messages: list[Any] = []
    pending = [{"type": "http.request", "body": body or b"", "more_body": False}]

    async def receive() -> Any:
        return pending.pop(0) if pending else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start = messages[0]
    content = b"".join(message.get("body", b"") for message in messages[1:])
    return Response(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, content)
