"""The TLS contexts of a process: what it shows, whom it accepts, and both renewed while connections run.

Whom a connection is with is the SPIFFE id in the peer's certificate (its URI name), never a host name. A refusal is
written to the log with its cause, since TLS tells the other side nearly nothing.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Collection
from typing import Any, Protocol

import msgspec

from tradewind.chassis.logs import get_logger

_log = get_logger(__name__)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate chain with its private key, and the roots that others are checked by; all PEM."""

    certificate: bytes
    private_key: bytes
    trust: bytes

    def __repr__(self) -> str:
        return "Credentials(***)"


class MeshIdentity(Protocol):
    """How a process comes to its certificate and keeps a fresh one."""

    tls: TlsIdentity

    async def obtain(self) -> None:
        """Return once there is a certificate."""
        ...

    async def keep(self) -> None:
        """Renew it in time, for ever."""
        ...


class TlsIdentity:
    """One identity, as server and as client. `accepted` are the SPIFFE ids of those it talks to."""

    def __init__(self, accepted: Collection[str]) -> None:
        self.server = _Pinning(ssl.PROTOCOL_TLS_SERVER)
        # A resumed session would not show its certificate again, and would outlive it.
        self.server.num_tickets = 0
        self.server.options |= ssl.OP_NO_TICKET
        self.client = _Pinning(ssl.PROTOCOL_TLS_CLIENT)
        for context in self._contexts:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.check_hostname = False
            context.verify_mode = ssl.CERT_REQUIRED
            context.accepted = frozenset(accepted)

    @property
    def _contexts(self) -> tuple[_Pinning, _Pinning]:
        return self.server, self.client

    def load(self, credentials: Credentials) -> None:
        """Use these from the next connection on; those that run go on as they are.

        Raises:
            ssl.SSLError: the key is not the certificate's, or something is no PEM.
        """
        chain = credentials.certificate + credentials.private_key
        for context in self._contexts:
            _load_chain(context, chain)
            context.load_verify_locations(cadata=credentials.trust.decode())


class _Refused(ssl.SSLCertVerificationError):
    """The certificate is good, and somebody else's."""


class _PinnedObject(ssl.SSLObject):
    """A handshake that also looks at who it is, and says why it failed."""

    context: Any

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
            self._require_accepted()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as exc:
            _log.warning(
                "a TLS connection was refused",
                side="server" if self.server_side else "client",
                cause=getattr(exc, "verify_message", "") or exc.reason or str(exc),
            )
            raise

    def _require_accepted(self) -> None:
        certificate = self.getpeercert() or {}
        names: Any = certificate.get("subjectAltName", ())
        ids = [name for kind, name in names if kind == "URI"]
        if len(ids) != 1 or ids[0] not in self.context.accepted:
            cause = f"this is {', '.join(ids) or 'nobody'}, not {', '.join(sorted(self.context.accepted))}"
            refused = _Refused(cause)
            refused.verify_message = cause
            raise refused


class _Pinning(ssl.SSLContext):
    """A context that takes only peers with one of the SPIFFE ids `accepted`."""

    accepted: frozenset[str] = frozenset()
    sslobject_class = _PinnedObject


def _load_chain(context: ssl.SSLContext, chain: bytes) -> None:
    """Python takes keys from files only; this one is memory that no other process can open by name."""
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
