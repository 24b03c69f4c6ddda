"""The key of the encrypted file: 256 random bits, kept in another place than the file, or given by the environment."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from tradewind.chassis.secrets import SecretsError
from tradewind.chassis.whole_file import written_beside

KEY_BYTES = 32
KEY = "TRADEWIND_SECRETS_KEY"
KEY_FILE = "TRADEWIND_SECRETS_KEY_FILE"


class Key:
    """The key and its id, a fingerprint that tells a wrong key from a damaged file. Shows neither in a repr."""

    __slots__ = ("id", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.id = hmac.new(raw, b"tradewind secrets key id", hashlib.sha256).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Key(id={self.id})"


def find_key(environ: Mapping[str, str], *, make: bool) -> Key:
    """The key that `environ` gives, or else the one in the key file; `make` one there if there is none.

    Raises:
        SecretsError: `key-missing`, `key-invalid` (no 32 bytes in base64; or a key file that others can read).
    """
    if text := environ.get(KEY):
        return _decoded(text, KEY)
    path = key_file(environ)
    try:
        return _read(path)
    except FileNotFoundError:
        if not make:
            raise SecretsError(
                "key-missing",
                f"there is no key at {path}",
                f"set {KEY} or {KEY_FILE} to the one the secrets were written with",
            ) from None
    _make(path)
    return _read(path)


def key_file(environ: Mapping[str, str]) -> Path:
    """Where the key lies on this machine: of its owner, not of any one state folder."""
    if named := environ.get(KEY_FILE):
        return Path(named).absolute()
    configuration = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    return Path(configuration) / "tradewind" / "secrets.key"


def _read(path: Path) -> Key:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SecretsError("key-invalid", f"{path} can be read by others", f"chmod 600 {path}")
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise SecretsError("key-invalid", f"{path} cannot be read: {type(error).__name__}") from None
    return _decoded(text, str(path))


def _make(path: Path) -> None:
    """Write a new key, whole or not at all; where two make one at once, the first stays."""
    text = base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = written_beside(path, text + b"\n")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(scratch)
        scratch.unlink(missing_ok=True)
    except OSError as error:
        raise SecretsError(
            "key-missing",
            f"no key can be made at {path}: {error.strerror}",
            f"set {KEY_FILE} to a file of yours, or {KEY}",
        ) from None


def _decoded(text: str, where: str) -> Key:
    try:
        raw = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise SecretsError("key-invalid", f"{where} is not a key", f"it is {KEY_BYTES} random bytes in base64")
    return Key(raw)
