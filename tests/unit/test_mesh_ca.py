"""The platform's certificate authority: what it signs, for whom, and what it refuses."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tradewind.chassis.clock import SystemClock
from tradewind.chassis.tls import Credentials, TlsIdentity
from tradewind.mesh.ca import CaUnusable, CertificateAuthority, RequestRefused, new_root
from tradewind.mesh.identity import operator_token, proxy_token, room_token, spiffe_id
from tradewind.mesh.signing_request import KeyPair, new_key_pair
from tradewind.mesh.state_file import StateFile


def authority(folder: Path, *, lifetime_s: float = 60.0, make: bool = True) -> CertificateAuthority:
    return CertificateAuthority.open(
        StateFile(folder / "ca.pem"), lifetime_s=lifetime_s, clock=SystemClock(), make=make
    )


def credentials(made: CertificateAuthority, room: str) -> Credentials:
    pair = new_key_pair()
    issued = made.issue(pair.request, room)
    return Credentials(
        certificate=issued.certificate.encode(), private_key=pair.private_key, trust=issued.trust.encode()
    )


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Shake hands in memory; returns the negotiated version, raises what either side raises."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    waiting = [True, True]
    for _ in range(10):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                waiting[number] = False
            except ssl.SSLWantReadError:
                continue
        if not any(waiting):
            return str(ends[0].version())
    raise AssertionError("they do not come to an end")


def test_a_certificate_names_the_room_whatever_the_request_says_and_is_short_lived(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    asked = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "payment")]))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id("payment"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    issued = authority(tmp_path, lifetime_s=60).issue(asked.public_bytes(Encoding.PEM), "order")
    certificate = x509.load_pem_x509_certificate(issued.certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://tradewind/order"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    now = datetime.now(UTC)
    assert certificate.not_valid_after_utc - now < timedelta(seconds=61)
    # A reader whose clock is minutes behind must take it all the same.
    assert certificate.not_valid_before_utc <= now - timedelta(minutes=4)


def test_the_root_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    first = authority(tmp_path)
    assert (tmp_path / "ca.pem").stat().st_mode & 0o777 == 0o600
    assert authority(tmp_path).trust == first.trust


def test_a_given_root_is_never_made_and_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(CaUnusable, match="not there"):
        authority(tmp_path, make=False)
    (tmp_path / "ca.pem").write_text("something else")
    with pytest.raises(CaUnusable):
        authority(tmp_path)
    one, other = new_root(datetime.now(UTC)), new_root(datetime.now(UTC))
    key, _, _ = one.partition(b"-----BEGIN CERTIFICATE")
    _, found, certificate = other.partition(b"-----BEGIN CERTIFICATE")
    (tmp_path / "ca.pem").write_bytes(key + found + certificate)
    with pytest.raises(CaUnusable, match="not that of the first certificate"):
        authority(tmp_path)


def test_what_is_no_request_is_refused(tmp_path: Path) -> None:
    made = authority(tmp_path)
    good = new_key_pair().request
    foreign = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    weak = foreign.sign(ec.generate_private_key(ec.SECP192R1()), hashes.SHA256()).public_bytes(Encoding.PEM)
    der = bytearray(x509.load_pem_x509_csr(good).public_bytes(Encoding.DER))
    der[-1] ^= 1
    for request in (b"", b"nothing", weak, _pem(bytes(der))):
        with pytest.raises(RequestRefused):
            made.issue(request, "order")


def test_a_root_is_replaced_by_trusting_both_for_a_while(tmp_path: Path) -> None:
    old = authority(tmp_path)
    holder = credentials(old, "order")
    new = new_root(datetime.now(UTC))
    (tmp_path / "ca.pem").write_bytes(
        new + (tmp_path / "ca.pem").read_bytes().partition(b"-----END PRIVATE KEY-----\n")[2]
    )
    server, client = TlsIdentity([spiffe_id("order")]), TlsIdentity([spiffe_id("envoy")])
    server.load(credentials(authority(tmp_path), "envoy"))
    client.load(holder)
    client.load(Credentials(
        certificate=holder.certificate, private_key=holder.private_key, trust=authority(tmp_path).trust.encode()
    ))  # fmt: skip
    assert handshake(server.server, client.client) == "TLSv1.3"


def test_each_side_takes_only_the_one_it_means(tmp_path: Path) -> None:
    made = authority(tmp_path)
    server, client = TlsIdentity([spiffe_id("envoy")]), TlsIdentity([spiffe_id("order")])
    server.load(credentials(made, "order"))
    client.load(credentials(made, "envoy"))
    assert handshake(server.server, client.client) == "TLSv1.3"
    # Renewed in place, without new contexts: what listens goes on listening.
    server.load(credentials(made, "order"))
    assert handshake(server.server, client.client) == "TLSv1.3"
    client.load(credentials(made, "payment"))
    with pytest.raises(ssl.SSLCertVerificationError, match="this is spiffe://tradewind/payment"):
        handshake(server.server, client.client)
    client.load(credentials(made, "envoy"))
    server.load(credentials(made, "payment"))
    with pytest.raises(ssl.SSLCertVerificationError, match="not spiffe://tradewind/order"):
        handshake(server.server, client.client)


def test_no_private_key_shows_in_a_repr() -> None:
    pair = new_key_pair()
    shown = repr(pair) + repr(Credentials(certificate=b"c", private_key=pair.private_key, trust=b"t"))
    assert "PRIVATE" not in shown
    assert isinstance(pair, KeyPair)


def test_the_proxys_and_the_operators_tokens_are_no_rooms() -> None:
    tokens = {proxy_token("s"), operator_token("s"), room_token("s", "proxy"), room_token("s", "operator")}
    assert len(tokens) == 4


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE-", "CERTIFICATE REQUEST-").encode()
