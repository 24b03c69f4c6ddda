"""A key of one's own, and the request to have it certified."""

from __future__ import annotations

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tradewind.mesh.certificates import key_pem


class KeyPair(msgspec.Struct, frozen=True):
    """A new private key and its signing request, both PEM. The key is for this process's memory alone."""

    private_key: bytes
    request: bytes

    def __repr__(self) -> str:
        return "KeyPair(***)"


def new_key_pair() -> KeyPair:
    """A P-256 key and a request (PKCS #10) that names nobody: the authority decides whose it is."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return KeyPair(key_pem(key), request.public_bytes(Encoding.PEM))
