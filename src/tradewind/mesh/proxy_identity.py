"""The proxy's certificate: issued by the control plane to itself, handed to Envoy in two files (SDS), renewed at half life.

Envoy watches the files and takes what is moved into their place, without a listener or a cluster being touched. The
control plane uses the same identity where it asks an instance directly.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from tradewind.chassis.logs import get_logger
from tradewind.chassis.tls import Credentials, TlsIdentity
from tradewind.mesh.ca import CertificateAuthority
from tradewind.mesh.half_life import HalfLife
from tradewind.mesh.identity import PROXY, spiffe_id
from tradewind.mesh.signing_request import new_key_pair
from tradewind.mesh.state_file import StateFile
from tradewind.mesh.tls_sockets import SecretFiles, identity_secret, trust_secret

RETRY_S = 1.0

_log = get_logger(__name__)


class ProxyIdentity:
    """Keeps the proxy's certificate fresh, in the files of `folder` and for this process's own connections."""

    def __init__(self, authority: CertificateAuthority, folder: Path) -> None:
        self._authority = authority
        self.files = SecretFiles.in_folder(folder)
        self._half_life = HalfLife()
        self._credentials: Credentials | None = None
        self._clients: dict[str, TlsIdentity] = {}

    def renew(self) -> None:
        """Make a new key and certificate and put them in place.

        Raises:
            OSError: the files cannot be written; the old ones are still there.
        """
        pair = new_key_pair()
        issued = self._authority.issue(pair.request, PROXY)
        # Roots first: whoever gets the new certificate must find its root known.
        StateFile(Path(self.files.trust)).write(msgspec.json.encode(trust_secret(issued.trust)))
        StateFile(Path(self.files.identity)).write(
            msgspec.json.encode(identity_secret(issued.certificate, pair.private_key.decode()))
        )
        self._credentials = Credentials(
            certificate=issued.certificate.encode(), private_key=pair.private_key, trust=issued.trust.encode()
        )
        for client in self._clients.values():
            client.load(self._credentials)
        self._half_life.begin(issued.lifetime_s)
        _log.info("a new certificate for the proxy", lifetime_s=issued.lifetime_s)

    async def keep(self) -> None:
        """Renew at half of each certificate's life, for ever."""
        while True:
            await self._half_life.over()
            try:
                self.renew()
            except OSError as exc:
                _log.error("the proxy's certificate could not be renewed", error=str(exc))
                await asyncio.sleep(RETRY_S)

    def towards(self, room: str) -> TlsIdentity:
        """The proxy as a client of `room`'s instances."""
        if room not in self._clients:
            client = self._clients[room] = TlsIdentity([spiffe_id(room)])
            if self._credentials is not None:
                client.load(self._credentials)
        return self._clients[room]
