"""Secrets in HashiCorp Vault or OpenBao, engine KV version 2, through `hvac`: each at its own path, with its versions.

API: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2. The value stands under the key `value`. A write names
the version it replaces (check-and-set), so that two of them never hide one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import hvac
import requests
from hvac import exceptions

from tradewind.chassis.secrets import Entry, SecretsError, check_name, check_value
from tradewind.chassis.settings import Secret

TIMEOUT_S = 5
_FIELD = "value"


class VaultKv2:
    """The `SecretStore` below `path` of the engine mounted at `mount`."""

    def __init__(self, url: str, token: Secret, *, mount: str, path: str) -> None:
        self.description = f"Vault at {url}, {mount}/{path}"
        self._kv = hvac.Client(url=url, token=token.reveal(), timeout=TIMEOUT_S, allow_redirects=False).secrets.kv.v2
        self._mount = mount
        self._path = path

    def entries(self) -> list[Entry]:
        with self._translated():
            try:
                answer = self._kv.list_secrets(path=self._path, mount_point=self._mount)
            except exceptions.InvalidPath:
                return []
            names = sorted(name for name in answer["data"]["keys"] if not name.endswith("/"))
            return [Entry(name, self._changed_at(name)) for name in names]

    def find(self, name: str) -> Secret | None:
        check_name(name)
        with self._translated():
            version = self._read(name)
        value = (version or {}).get("data", {}).get(_FIELD)
        if version is not None and not isinstance(value, str):
            raise SecretsError("value-invalid", f"{name} has no text under {_FIELD!r} in {self.description}")
        return Secret(value) if value else None

    def put(self, name: str, value: Secret) -> None:
        check_name(name)
        check_value(name, value)
        with self._translated():
            known = self._current_version(name)
            self._kv.create_or_update_secret(
                path=f"{self._path}/{name}", secret={_FIELD: value.reveal()}, cas=known, mount_point=self._mount
            )

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            answer = self._kv.read_secret_version(
                path=f"{self._path}/{name}", mount_point=self._mount, raise_on_deleted_version=True
            )
        except exceptions.InvalidPath:  # never there, or its newest version is deleted
            return None
        found: dict[str, Any] = answer["data"]
        return found

    def _metadata(self, name: str) -> dict[str, Any] | None:
        try:
            answer = self._kv.read_secret_metadata(path=f"{self._path}/{name}", mount_point=self._mount)
        except exceptions.InvalidPath:
            return None
        found: dict[str, Any] = answer["data"]
        return found

    def _current_version(self, name: str) -> int:
        """Also of one that was deleted: its number goes on. 0: there never was one."""
        metadata = self._metadata(name)
        return int(metadata["current_version"]) if metadata else 0

    def _changed_at(self, name: str) -> datetime | None:
        metadata = self._metadata(name)
        return datetime.fromisoformat(metadata["updated_time"]) if metadata else None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Vault's and the network's errors as ours. Without their texts, which may quote a request."""
        try:
            yield
        except (exceptions.Forbidden, exceptions.Unauthorized):
            raise SecretsError(
                "forbidden",
                f"{self.description} refuses the token",
                "is VAULT_TOKEN right, and may it read and write there?",
            ) from None
        except exceptions.InvalidRequest as error:
            if "check-and-set" in str(error):
                raise SecretsError("conflict", "somebody else changed it meanwhile", "look, and do it again") from None
            raise SecretsError("unavailable", f"{self.description} refuses the request") from None
        except (exceptions.VaultError, requests.RequestException) as error:
            raise SecretsError("unavailable", f"{self.description} does not answer ({type(error).__name__})") from None
        except (KeyError, TypeError, ValueError):
            raise SecretsError(
                "unavailable", f"{self.description} gives answers that are not of KV version 2"
            ) from None
