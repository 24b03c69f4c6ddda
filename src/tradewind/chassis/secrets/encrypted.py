"""Secrets in one file, encrypted and authenticated as a whole with AES-256-GCM (NIST SP 800-38D).

    tradewind-secrets 1\\n                        what this is
    {"key": "<id>", "nonce": "<24 hex>"}\\n       which key, and the nonce, new with each write (96 random bits)
    <ciphertext and tag>                          of {"secrets": {name: {"value", "changed_at"}}}

Both lines are authenticated with the ciphertext. A file is replaced in one step and written to the disk before, so a
reader and a crash see the old one or the new; writers take turns by a lock beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tradewind.chassis.secrets import MAX_NAMES, Entry, SecretsError, check_name, check_value
from tradewind.chassis.secrets.keys import Key
from tradewind.chassis.settings import Secret
from tradewind.chassis.whole_file import replace_file

MAGIC = b"tradewind-secrets 1\n"
NONCE_BYTES = 12
MAX_HEADER_BYTES = 200
MAX_FILE_BYTES = 64 * 1024 * 1024


class _Kept(msgspec.Struct, frozen=True):
    value: str
    changed_at: datetime

    def __repr__(self) -> str:
        return "_Kept(***)"


class _Header(msgspec.Struct, frozen=True):
    key: str
    nonce: str


class _Content(msgspec.Struct, frozen=True):
    secrets: dict[str, _Kept]


class EncryptedFile:
    """The `SecretStore` in the file `path`. `key` is asked for when it is first needed; True where one may be made."""

    def __init__(self, path: Path, key: Callable[[bool], Key]) -> None:
        self.description = f"encrypted file {path}"
        self._path = path
        self._find_key = key

    def entries(self) -> list[Entry]:
        return [Entry(name, kept.changed_at) for name, kept in sorted(self._load().items())]

    def find(self, name: str) -> Secret | None:
        check_name(name)
        kept = self._load().get(name)
        return Secret(kept.value) if kept else None

    def put(self, name: str, value: Secret) -> None:
        self.put_all({name: value})

    def put_all(self, values: dict[str, Secret], *, missing_only: bool = False) -> None:
        """Keep all of these in one step, or none; with `missing_only` what is there stays."""
        for name, value in values.items():
            check_name(name)
            check_value(name, value)
        with self._turn():
            known = self._load()
            changed_at = datetime.now(UTC)
            new = {
                name: _Kept(value.reveal(), changed_at)
                for name, value in values.items()
                if not (missing_only and name in known)
            }
            if len(known | new) > MAX_NAMES:
                raise SecretsError("value-invalid", f"a file keeps at most {MAX_NAMES} secrets")
            if new:
                self._write(known | new)

    def get_or_make(self, name: str, make: Callable[[], str]) -> Secret:
        """The secret `name`; made now where there is none. Whoever else asks at the same time gets the same."""
        found = self.find(name)
        if found is None:
            self.put_all({name: Secret(make())}, missing_only=True)
            found = self.find(name)
        assert found is not None
        return found

    def _load(self) -> dict[str, _Kept]:
        try:
            with self._path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SecretsError("unreadable", f"{self._path} cannot be read: {error.strerror}") from None
        head, header, body = self._taken_apart(raw)
        key = self._find_key(False)
        if header.key != key.id:
            raise SecretsError(
                "key-wrong",
                f"{self._path} was encrypted with another key ({header.key}, not {key.id})",
                "give the key it was written with: TRADEWIND_SECRETS_KEY or TRADEWIND_SECRETS_KEY_FILE",
            )
        try:
            plain = AESGCM(key.raw).decrypt(bytes.fromhex(header.nonce), body, head)
            return msgspec.json.decode(plain, type=_Content).secrets
        except (InvalidTag, ValueError):
            # Without the cause: a decoder's message may quote what it read.
            raise self._tampered() from None

    def _taken_apart(self, raw: bytes) -> tuple[bytes, _Header, bytes]:
        end = raw.find(b"\n", len(MAGIC), len(MAGIC) + MAX_HEADER_BYTES)
        if not raw.startswith(MAGIC) or end < 0:
            raise self._tampered()
        try:
            header = msgspec.json.decode(raw[len(MAGIC) : end], type=_Header)
        except msgspec.DecodeError:
            raise self._tampered() from None
        return raw[: end + 1], header, raw[end + 1 :]

    def _tampered(self) -> SecretsError:
        return SecretsError(
            "tampered", f"{self._path} was changed or damaged, and cannot be trusted", "restore it from a backup"
        )

    def _write(self, kept: dict[str, _Kept]) -> None:
        key = self._find_key(not self._path.exists())
        nonce = secrets.token_bytes(NONCE_BYTES)
        head = MAGIC + msgspec.json.encode(_Header(key.id, nonce.hex())) + b"\n"
        body = AESGCM(key.raw).encrypt(nonce, msgspec.json.encode(_Content(kept)), head)
        try:
            replace_file(self._path, head + body)
        except OSError as error:
            raise SecretsError("unavailable", f"{self._path} cannot be written: {error.strerror}") from None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(
                self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise SecretsError("unavailable", f"{self._path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
