"""The key pair access tokens are signed with on this machine: made once, ES256, readable by its owner only."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tradewind.chassis.ids import new_id
from tradewind.stack.state import write_json


def make_signing_keys(path: Path) -> None:
    """Write `{"active": kid, "keys": [{"kid", "pem"}]}` with a new key to `path`."""
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    kid = new_id()
    write_json(path, {"active": kid, "keys": [{"kid": kid, "pem": pem.decode("ascii")}]})
