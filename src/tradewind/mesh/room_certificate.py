"""The room's side of the authority: ask for a certificate with the room's token, and for the next one at half its life."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import msgspec

from tradewind.chassis.alongside import growing_pauses
from tradewind.chassis.answers import read_answer
from tradewind.chassis.logs import get_logger
from tradewind.chassis.tls import Credentials, TlsIdentity
from tradewind.mesh.ca import Issued
from tradewind.mesh.half_life import HalfLife
from tradewind.mesh.identity import PROXY, spiffe_id
from tradewind.mesh.signing_request import new_key_pair

REQUEST_TIMEOUT_S = 5.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
MAX_ANSWER_BYTES = 256 * 1024

_log = get_logger(__name__)


class RoomCertificate:
    """Keeps `tls` supplied with certificates of `room` from the control plane at `registry_url`. `token` is the room's."""

    def __init__(self, registry_url: str, token: str, room: str) -> None:
        self.tls = TlsIdentity([spiffe_id(PROXY)])
        self._url = registry_url.rstrip("/") + "/v1/certificates"
        self._room = room
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._half_life = HalfLife()

    async def obtain(self) -> None:
        """Return once there is a certificate. An authority that is away or refuses is asked again, and logged."""
        pauses = growing_pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while not await self._renewed():
            await asyncio.sleep(next(pauses))

    async def keep(self) -> None:
        """Renew at half of each certificate's life, for ever; until that succeeds the old one stays in use."""
        while True:
            await self._half_life.over()
            await self.obtain()

    async def _renewed(self) -> bool:
        pair = new_key_pair()
        body = msgspec.json.encode({"room": self._room, "request": pair.request.decode()})
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
                session.post(self._url, data=body) as answer,
            ):
                said = await read_answer(answer, MAX_ANSWER_BYTES)
                if answer.status != 201:
                    refusal = said[:500].decode(errors="replace")
                    _log.warning("the authority refused us a certificate", status=answer.status, answer=refusal)
                    return False
            issued = msgspec.json.decode(said, type=Issued)
            self.tls.load(
                Credentials(
                    certificate=issued.certificate.encode(), private_key=pair.private_key, trust=issued.trust.encode()
                )
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError, msgspec.MsgspecError) as exc:
            _log.warning("no certificate could be had", error=str(exc) or type(exc).__name__)
            return False
        self._half_life.begin(issued.lifetime_s)
        _log.info("a new certificate", lifetime_s=issued.lifetime_s)
        return True
