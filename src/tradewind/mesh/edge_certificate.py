"""The certificate of the public edge: given files where there are some, one of our own making on a laptop.

Ours is signed by a CA that lives in the same folder and signs nothing else: who trusts `ca.pem` once, trusts every
certificate that follows. Envoy learns of the files through a third one, `secret.json`, and watches their folder, so a
renewed certificate is taken when its files are moved into place (which is how Kubernetes, certbot and we replace them).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tradewind.mesh.certificates import common_name, key_pem, unsigned
from tradewind.mesh.edge_tls import secret_resource
from tradewind.mesh.state_file import StateFile

CA_DAYS = 3650
DAYS = 90
RENEW_BEFORE_DAYS = 30
LAPTOP_NAMES = ("localhost", "127.0.0.1", "::1")


class CertificateUnusable(ValueError):
    """Certificate or key cannot be served; the message names the file and what is wrong with it."""


class CertificateFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of a PEM chain (the server's own certificate first) and of its unencrypted PEM key."""

    chain: Path
    key: Path


def secret_file(folder: Path) -> Path:
    """The file from which Envoy learns where the certificate lies."""
    return folder / "secret.json"


def ca_file(folder: Path) -> Path:
    """What clients trust where the certificate is of our own making."""
    return folder / "ca.pem"


def prepare(folder: Path, given: CertificateFiles | None, names: Sequence[str] = LAPTOP_NAMES) -> datetime:
    """Make sure that there is a certificate to serve, and say in `folder` where; returns when it expires.

    Without `given` files one is made for `names` (DNS names or addresses), and made anew 30 days before its end.

    Raises:
        CertificateUnusable: a given file cannot be read, has expired, or key and certificate are no pair.
    """
    files = given or CertificateFiles(chain=folder / "edge.pem", key=folder / "edge-key.pem")
    if given is None:
        _renew(folder, files, names)
    certificate = _require_usable(files)
    secret = StateFile(secret_file(folder))
    content = msgspec.json.encode(secret_resource(files.chain, files.key))
    if secret.read() != content:
        secret.write(content)
    return certificate.not_valid_after_utc


def _renew(folder: Path, files: CertificateFiles, names: Sequence[str]) -> None:
    try:
        left = _require_usable(files).not_valid_after_utc - datetime.now(UTC)
    except CertificateUnusable:
        left = timedelta()
    if left > timedelta(days=RENEW_BEFORE_DAYS) and ca_file(folder).exists():
        return
    ca, ca_key = _authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        unsigned(common_name("tradewind edge"), ca.subject, key.public_key(), datetime.now(UTC), timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    # The key first: between the two renames the pair does not fit, and Envoy keeps what it has until it does.
    StateFile(files.key).write(key_pem(key))
    StateFile(files.chain).write(certificate.public_bytes(serialization.Encoding.PEM))


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The CA of this folder, made at first need."""
    stored, stored_key = StateFile(ca_file(folder)), StateFile(folder / "ca-key.pem")
    kept, kept_key = stored.read(), stored_key.read()
    if kept and kept_key:
        found = x509.load_pem_x509_certificate(kept)
        found_key = serialization.load_pem_private_key(kept_key, None)
        lasts = found.not_valid_after_utc > datetime.now(UTC) + timedelta(days=DAYS)
        if lasts and isinstance(found_key, ec.EllipticCurvePrivateKey) and found.public_key() == found_key.public_key():
            return found, found_key
    key = ec.generate_private_key(ec.SECP256R1())
    name = common_name("tradewind laptop CA")
    certificate = (
        unsigned(name, name, key.public_key(), datetime.now(UTC), timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    stored_key.write(key_pem(key))
    stored.write(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _require_usable(files: CertificateFiles) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificates(files.chain.read_bytes())[0]
    except OSError as exc:
        raise CertificateUnusable(f"{files.chain} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise CertificateUnusable(f"{files.chain} is no PEM certificate") from exc
    try:
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    except OSError as exc:
        raise CertificateUnusable(f"{files.key} cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError) as exc:
        raise CertificateUnusable(f"{files.key} is no unencrypted PEM key") from exc
    if key.public_key() != certificate.public_key():
        raise CertificateUnusable(f"{files.key} is not the key of the certificate in {files.chain}")
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise CertificateUnusable(f"{files.chain} expired at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%MZ}")
    return certificate
