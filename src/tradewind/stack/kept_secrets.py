"""The passwords and keys of one state folder: random values made at first need, kept in an encrypted file there.

Its key lies elsewhere (`chassis/secrets/keys.py`), so that a copy of the folder opens nothing. What an older version kept
in plain `secrets.json` is taken over; that file goes only when the other is on the disk, so a crash between loses nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tradewind.chassis.secrets import SecretsError
from tradewind.chassis.secrets.encrypted import EncryptedFile
from tradewind.chassis.secrets.keys import find_key
from tradewind.chassis.settings import Secret
from tradewind.stack.errors import StackError

FILE, PLAIN_FILE = "secrets.enc", "secrets.json"
RANDOM_BYTES = 24
BESIDE = "_beside"
"""Ends the name under which the other one of a pair is kept; the same value as the first: there is no other."""


class Secrets:
    """The secrets in `folder`. Nothing is read, and no key made, before the first is asked for."""

    def __init__(self, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._plain = folder / PLAIN_FILE
        self._file = EncryptedFile(folder / FILE, lambda make: find_key(environ, make=make))

    def get(self, name: str) -> str:
        """The secret `name`: 192 random bits in URL-safe characters, unless somebody chose it.

        Raises:
            StackError: the file cannot be read or written, or not with this key.
        """
        with _as_stack_error():
            return self.store().get_or_make(name, random_secret).reveal()

    def login(self, room: str) -> tuple[str, str]:
        """The role that the running service of `room` signs in as, and its password. Raises StackError."""
        with _as_stack_error():
            named = self.store().find(f"{room}_login")
        role = named.reveal() if named else f"{room}_service"
        return role, self.get(role)

    def both(self, name: str) -> str:
        """The secret `name`, and behind a comma the one that is good beside it while it is rotated. Raises StackError."""
        value = self.get(name)
        with _as_stack_error():
            beside = self.store().find(f"{name}{BESIDE}")
        return f"{value},{beside.reveal()}" if beside and beside.reveal() != value else value

    def keep(self, values: Mapping[str, str]) -> None:
        """Keep all of these, or none. Raises StackError."""
        with _as_stack_error():
            self.store().put_all({name: Secret(value) for name, value in values.items()})

    def store(self) -> EncryptedFile:
        """The store itself, with what an older version left taken over. Raises SecretsError."""
        try:
            values = msgspec.json.decode(self._plain.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return self._file
        except (OSError, msgspec.DecodeError):
            raise SecretsError(
                "unreadable", f"{self._plain} does not read", "restore it, or delete it with its state folder"
            ) from None
        self._file.put_all({name: Secret(value) for name, value in values.items()}, missing_only=True)
        self._plain.unlink(missing_ok=True)
        return self._file


def random_secret() -> str:
    """192 random bits, in characters that need no escaping in a URL."""
    return secrets.token_urlsafe(RANDOM_BYTES)


@contextmanager
def _as_stack_error() -> Iterator[None]:
    try:
        yield
    except SecretsError as error:
        raise StackError(error.problem, error.fix) from None
