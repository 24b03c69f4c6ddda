"""Where secrets lie: one interface over an encrypted file, mounted files, the environment, and Vault or OpenBao.

    store = open_store("vault:https://vault.example:8200/secret/tradewind", environ)
    store.find("order_database_url")        # a Secret, or None

A name is that of the variable in lower case: `order_database_url` is what `ORDER_DATABASE_URL` would hold, and the file
of a deployment's secret is called the same. No error, repr or log line of this package has a value in it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Protocol

import msgspec

from tradewind.chassis.settings import Secret

MAX_VALUE_BYTES = 64 * 1024
MAX_NAMES = 1_000

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


class SecretsError(Exception):
    """A store cannot do what was asked. `code` is stable; the message names the cause, `fix` what to do; neither has a value.

    Codes: `name-invalid`, `value-invalid`, `read-only`, `key-missing`, `key-invalid`, `key-wrong`, `tampered`, `unreadable`,
    `unavailable`, `forbidden`, `conflict`, `store-unknown`.
    """

    def __init__(self, code: str, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.fix = fix


class Entry(msgspec.Struct, frozen=True):
    """What may be told of a secret: its name, and when it was last changed, where the store knows."""

    name: str
    changed_at: datetime | None = None


class SecretStore(Protocol):
    """A place of secrets. Its calls block: it is for the start of a process and the command line."""

    description: str
    """Where it is, for people."""

    def entries(self) -> list[Entry]:
        """What is there, sorted by name."""
        ...

    def find(self, name: str) -> Secret | None:
        """The secret `name`, None where there is none."""
        ...

    def put(self, name: str, value: Secret) -> None:
        """Keep `value` from now on; returns once it is durable.

        Raises:
            SecretsError: `read-only`, `value-invalid` (empty, or over 64 kB), `conflict` (changed by somebody else meanwhile).
        """
        ...


def check_name(name: str) -> None:
    """Return if `name` can name a secret: lower case, digits and `_`, at most 100 characters. Raises SecretsError."""
    if not _NAME.fullmatch(name):
        raise SecretsError("name-invalid", "a secret's name has a-z, 0-9 and _, and begins with a letter")


def check_value(name: str, value: Secret) -> None:
    """Return if `value` may be stored. Raises SecretsError."""
    size = len(value.reveal().encode())
    if not 0 < size <= MAX_VALUE_BYTES or "\x00" in value.reveal():
        raise SecretsError("value-invalid", f"{name}: a secret has 1 to {MAX_VALUE_BYTES} bytes, and no NUL")
