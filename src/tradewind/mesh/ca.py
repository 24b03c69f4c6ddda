"""The platform's own certificate authority: one root, and short-lived certificates that name a room.

A room makes its key itself and sends a signing request; only what is signed travels. Which room a certificate names is
decided by who proved to be what, never by what the request says. There is no list of revoked ones: they end soon.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from tradewind.chassis.clock import Clock
from tradewind.mesh.certificates import common_name, key_pem, unsigned
from tradewind.mesh.identity import TRUST_DOMAIN, spiffe_id
from tradewind.mesh.state_file import StateFile

ROOT_LIFETIME = timedelta(days=3650)


class CaUnusable(Exception):
    """The file of the root holds no certificate authority's certificate and its private key."""


class RequestRefused(Exception):
    """A certificate signing request that is none, that nobody signed, or for a kind of key we do not take."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and the roots to check others by, as PEM. `lifetime_s` counts from now, by any clock."""

    certificate: str
    trust: str
    lifetime_s: float


class CertificateAuthority:
    """Issues certificates signed by one root."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, roots: tuple[x509.Certificate, ...], *, lifetime_s: float, clock: Clock
    ) -> None:
        """`roots` are trusted; the first one is `key`'s and signs."""
        self._key = key
        self._root = roots[0]
        self._lifetime_s = lifetime_s
        self._clock = clock
        self.trust = "".join(root.public_bytes(Encoding.PEM).decode() for root in roots)

    @classmethod
    def open(cls, file: StateFile, *, lifetime_s: float, clock: Clock, make: bool) -> CertificateAuthority:
        """The authority kept in `file`: PEM, a private key and its certificate, then roots that are trusted as well.

        With `make`, one that is not there yet is made.

        Raises:
            CaUnusable: there is no such file, or something else is in it.
            OSError: it cannot be read or written.
        """
        content = file.read()
        if content is None:
            if not make:
                raise CaUnusable(f"{file.path} is not there")
            content = new_root(clock.now())
            file.write(content)
        try:
            key = load_pem_private_key(content, None)
            roots = tuple(x509.load_pem_x509_certificates(content))
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise CaUnusable(f"{file.path}: {exc}") from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CaUnusable(f"{file.path}: the private key is no elliptic curve's")
        if roots[0].public_key() != key.public_key():
            raise CaUnusable(f"{file.path}: the private key is not that of the first certificate")
        return cls(key, roots, lifetime_s=lifetime_s, clock=clock)

    @property
    def lifetime_s(self) -> float:
        """How long a new certificate lasts."""
        return self._lifetime_s

    def issue(self, request: bytes, room: str) -> Issued:
        """A certificate of `room` for the key in `request` (PEM, PKCS #10, RFC 2986), whatever name that asks for.

        Raises:
            RequestRefused: the request cannot be read, its signature is not its key's, or the key is no P-256 one.
        """
        try:
            asked = x509.load_pem_x509_csr(request)
            signed = asked.is_signature_valid
            public_key = asked.public_key()
        except (ValueError, InvalidSignature, UnsupportedAlgorithm) as exc:
            raise RequestRefused(f"this is no certificate signing request: {exc}") from exc
        if not signed:
            raise RequestRefused("the request is not signed with the key that it is for")
        if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, ec.SECP256R1):
            raise RequestRefused("the key is no P-256 one")
        now = self._clock.now()
        certificate = (
            unsigned(common_name(room), self._root.subject, public_key, now, timedelta(seconds=self._lifetime_s))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id(room))]), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._root.public_key()), False)  # type: ignore[arg-type]
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            certificate=certificate.public_bytes(Encoding.PEM).decode(), trust=self.trust, lifetime_s=self._lifetime_s
        )


def new_root(now: datetime) -> bytes:
    """A new root as PEM: its private key, then its certificate, good for ten years from `now`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = common_name(f"{TRUST_DOMAIN} root {now.astimezone(UTC):%Y-%m-%d}")
    certificate = (
        unsigned(name, name, key.public_key(), now, ROOT_LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key_pem(key) + certificate.public_bytes(Encoding.PEM)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
