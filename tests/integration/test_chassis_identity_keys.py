"""Keys over a real socket: fetched once, refreshed for a new key, and outliving the server that serves them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tradewind.chassis.errors import Unauthenticated, Unavailable
from tradewind.chassis.identity import TokenVerifier
from tradewind.chassis.ids import new_id
from tradewind.chassis.jwks import MAX_DOCUMENT_BYTES
from tradewind.chassis.signing import TokenSigner, new_signing_key

KEY_A, KEY_B = new_signing_key("a"), new_signing_key("b")


class KeyServer:
    """Serves the public keys, counts who asks, and can be stopped and started on one port."""

    def __init__(self) -> None:
        self.signer = TokenSigner("a", [KEY_A])
        self.asked = 0
        self.body: bytes | None = None
        self.status = 200
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/.well-known/jwks.json"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.body is not None:
            return web.Response(body=self.body, status=self.status)
        return web.json_response(self.signer.jwks(), status=self.status)


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    found = KeyServer()
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def verifier(server: KeyServer) -> AsyncIterator[TokenVerifier]:
    found = TokenVerifier(server.url)
    yield found
    await found.close()


def token(signer: TokenSigner) -> str:
    now_s = time.time()
    return signer.sign(
        {
            "iss": "tradewind",
            "aud": "tradewind",
            "sub": new_id(),
            "iat": now_s,
            "exp": now_s + 600,
            "jti": new_id(),
            "roles": ["customer"],
        }
    )


async def test_keys_are_fetched_once(server: KeyServer, verifier: TokenVerifier) -> None:
    await asyncio.gather(*(verifier.verify(token(server.signer)) for _ in range(20)))
    assert server.asked == 1


async def test_a_rotated_key_is_found_and_tokens_of_the_old_one_pass(
    server: KeyServer, verifier: TokenVerifier
) -> None:
    old = token(server.signer)
    await verifier.verify(old)
    server.signer = TokenSigner("b", [KEY_A, KEY_B])
    new = token(server.signer)
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(Unauthenticated):  # at most one look a second
                await verifier.verify(new)
                break
            await asyncio.sleep(0.05)
    await verifier.verify(old)
    assert server.asked == 2


async def test_valid_tokens_pass_while_the_server_is_down(server: KeyServer, verifier: TokenVerifier) -> None:
    await verifier.verify(token(server.signer))
    await server.stop()
    for _ in range(5):
        await verifier.verify(token(server.signer))


async def test_a_service_that_starts_before_its_keys_says_so_and_recovers(
    server: KeyServer, verifier: TokenVerifier
) -> None:
    await server.stop()
    with pytest.raises(Unavailable) as caught:
        await verifier.verify(token(server.signer))
    assert caught.value.code == "keys-unavailable"
    await server.start()
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(Unavailable):
                await verifier.verify(token(server.signer))
                break
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (302, b""), (200, b"<html>"), (200, b" " * (MAX_DOCUMENT_BYTES + 1))]
)
async def test_a_server_that_talks_nonsense_is_away(
    server: KeyServer, verifier: TokenVerifier, status: int, body: bytes
) -> None:
    server.status, server.body = status, body
    with pytest.raises(Unavailable):
        await verifier.verify(token(server.signer))
