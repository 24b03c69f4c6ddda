"""A room behind its real HTTP door: assembled as in production, on a free port, called by a real client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import aiohttp
import msgspec
import uvicorn
from starlette.types import ASGIApp

from tests.conftest import RoomDatabase
from tradewind.chassis.clock import SystemClock
from tradewind.chassis.events import Event, Received
from tradewind.chassis.foundation import Foundation, open_foundation
from tradewind.chassis.http import PUBLIC, Api, Call
from tradewind.chassis.http.app import Doorman, build_asgi
from tradewind.chassis.ids import new_id
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.service import Service
from tradewind.chassis.settings import DatabaseServiceSettings, load
from tradewind.chassis.signing import TokenSigner, keys_file, new_signing_key
from tradewind.services.auth.app import create_app as create_auth
from tradewind.services.auth.domain import Account, Role
from tradewind.services.auth.parts import Parts as AuthParts
from tradewind.services.auth.settings import AuthSettings
from tradewind.services.auth.tokens import AccessTokens
from tradewind.services.user.app import create_app as create_user
from tradewind.services.user.parts import Parts as UserParts
from tradewind.services.user.settings import UserSettings

P = TypeVar("P")
S = TypeVar("S", bound=DatabaseServiceSettings)


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body) if self.body else None

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self.body
        assert set(self.json) >= {"type", "title", "status", "detail", "code", "request_id"}
        return str(self.json["code"])


class Served(Generic[P]):
    """A running room."""

    def __init__(
        self, url: str, parts: P, foundation: Foundation, service: Service[P], client: aiohttp.ClientSession
    ) -> None:
        self.url = url
        self.parts = parts
        self.foundation = foundation
        self.service = service
        self._client = client

    async def __call__(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        token: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if json is not None:
            body = msgspec.json.encode(json)
        if body is not None:
            sent.setdefault("content-type", "application/json")
        async with self._client.request(method, self.url + path, data=body, headers=sent) as answer:
            raw = await answer.read()
            return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, raw)

    async def outbox(self) -> list[dict[str, Any]]:
        """The envelopes of all events that wait to be sent."""
        rows = await self.foundation.database.rows("SELECT envelope FROM outbox ORDER BY id")
        return [msgspec.json.decode(row["envelope"]) for row in rows]

    async def hear(self, event: Event, *, subject: str, version: int) -> None:
        """Hand an event to the bus door, as the consumer does."""
        received = Received(
            id=new_id(), type=event.TYPE, subject=subject, version=version, time=SystemClock().now(), traceparent=None,
            data=event, topic=event.TOPIC, partition=0, offset=0,
        )  # fmt: skip
        assert self.service.handlers is not None
        async with self.foundation.database.transaction() as tx:
            await self.service.handlers.apply(self.parts, tx, [received])


class Keys:
    """The platform's keys, and tokens made with them for whomever a test needs."""

    def __init__(self, folder: Path, kid: str = "k1") -> None:
        self.key = new_signing_key(kid)
        self.signer = TokenSigner(kid, [self.key])
        self.path = folder / f"{kid}.json"
        self.path.write_bytes(keys_file(kid, [self.key]))

    def token(
        self, user_id: str, *roles: Role, name: str = "Ada", email: str = "ada@example.test", session_id: str = ""
    ) -> str:
        account = Account(id=user_id, email=email, name=name, roles=roles or ("customer",), disabled=False, version=1)
        return AccessTokens(self.signer, SystemClock()).issue(account, session_id or new_id())


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, sock: socket.socket) -> AsyncIterator[None]:
    """Serve `app` on a socket."""
    config = uvicorn.Config(app, http="httptools", ws="none", loop="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


def bound() -> tuple[socket.socket, str]:
    """A socket on a free port, and its URL."""
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.asynccontextmanager
async def served(
    room: str, create_app: Callable[[S], Service[P]], settings: S, sock: socket.socket, url: str
) -> AsyncIterator[Served[P]]:
    """Assemble a room and open its door."""
    service = create_app(settings)
    async with (
        open_foundation(room, settings) as foundation,
        service.assemble(foundation) as parts,
        aiohttp.ClientSession() as client,
    ):
        doorman = Doorman(foundation.verifier, foundation.optional_database, foundation.metrics)
        async with listening(build_asgi(service.api, parts, doorman), sock):
            yield Served(url, parts, foundation, service, client)


@contextlib.asynccontextmanager
async def auth_room(url: str, keys: Keys, **more: str) -> AsyncIterator[Served[AuthParts]]:
    """auth-service on the database `url`; it verifies tokens with the keys it publishes."""
    sock, base = bound()
    environ = {
        "AUTH_DATABASE_URL": url,
        "AUTH_SIGNING_KEYS_FILE": str(keys.path),
        "JWKS_URL": f"{base}/.well-known/jwks.json",
        **more,
    }
    async with served("auth", create_auth, load(AuthSettings, environ), sock, base) as room:
        yield room


@contextlib.asynccontextmanager
async def user_room(room_database: RoomDatabase, keys: Keys) -> AsyncIterator[Served[UserParts]]:
    """user-service on a database of its own, and beside it the door where `keys` are published."""
    key_api = Api("keys", tag="Keys")

    @key_api.get("/.well-known/jwks.json", access=PUBLIC)
    async def jwks(call: Call[None]) -> dict[str, list[dict[str, str]]]:
        return keys.signer.jwks()

    access = await room_database("user")
    key_sock, key_url = bound()
    sock, base = bound()
    environ = {"USER_DATABASE_URL": access.url, "JWKS_URL": f"{key_url}/.well-known/jwks.json"}
    door = Doorman(None, None, Metrics(service="keys", instance="keys-1"))
    async with listening(build_asgi(key_api, None, door), key_sock):
        async with served("user", create_user, load(UserSettings, environ), sock, base) as room:
            yield room
