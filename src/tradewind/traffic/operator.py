"""An operator's access token, made with the platform's own signing key: whoever holds the key file may act as administrator."""

from __future__ import annotations

import time
from pathlib import Path

from tradewind.chassis.identity import AUDIENCE, ISSUER
from tradewind.chassis.ids import new_id
from tradewind.chassis.signing import TokenSigner

OPERATOR_ID = "00000000-0000-7000-8000-000000000001"
LIFETIME_S = 600


def operator_token(keys_file: Path) -> str:
    """An administrator's token for `LIFETIME_S` seconds, named `operator` in every log line.

    Raises:
        KeysFileError: the file holds no signing key.
    """
    return token_by(TokenSigner.load(keys_file))


def token_by(signer: TokenSigner) -> str:
    """The same, signed by `signer`'s active key."""
    now_s = int(time.time())
    return signer.sign(
        {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": OPERATOR_ID,
            "email": "operator@tradewind.example",
            "name": "operator",
            "roles": ["admin"],
            "sid": OPERATOR_ID,
            "iat": now_s,
            "exp": now_s + LIFETIME_S,
            "jti": new_id(),
        }
    )
