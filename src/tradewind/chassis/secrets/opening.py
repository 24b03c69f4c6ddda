"""From an address to the store it names, and from a store to the environment of a process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tradewind.chassis.secrets import SecretsError, SecretStore
from tradewind.chassis.secrets.given import Environment, MountedFiles, read_file
from tradewind.chassis.settings import Secret, Settings, describe

STORE = "TRADEWIND_SECRETS_STORE"
FORMS = "file:PATH, mounted:FOLDER, environment:, or vault:https://HOST:8200/MOUNT/PATH"


def open_store(address: str, environ: Mapping[str, str]) -> SecretStore:
    """The store at `address`; `environ` has the key of a file, the token of a Vault (`VAULT_TOKEN`, `VAULT_TOKEN_FILE`).

    Raises:
        SecretsError: `store-unknown`, or what it needs is missing.
    """
    kind, _, rest = address.partition(":")
    if kind == "mounted" and rest:
        return MountedFiles(Path(rest))
    if kind == "environment" and not rest:
        return Environment(environ)
    if kind == "file" and rest:
        # Here and not above: a process that has no such store need not load the ciphers.
        from tradewind.chassis.secrets.encrypted import EncryptedFile
        from tradewind.chassis.secrets.keys import find_key

        return EncryptedFile(Path(rest), lambda make: find_key(environ, make=make))
    if kind == "vault":
        return _vault(rest, environ)
    raise SecretsError("store-unknown", f"{STORE} names no store", FORMS)


def with_secrets(kind: type[Settings], environ: Mapping[str, str]) -> Mapping[str, str]:
    """`environ`, and from the store that it names the secrets of `kind` that it does not give itself.

    Raises:
        SecretsError: the store cannot be read.
    """
    address = environ.get(STORE)
    if not address:
        return environ
    store = open_store(address, environ)
    filled = dict(environ)
    for row in describe(kind):
        if row.secret and row.env not in environ and f"{row.env}_FILE" not in environ:
            found = store.find(row.env.lower())
            if found:
                filled[row.env] = found.reveal()
    return filled


def _vault(address: str, environ: Mapping[str, str]) -> SecretStore:
    from tradewind.chassis.secrets.vault import VaultKv2

    parts = urlsplit(address)
    mount, _, path = parts.path.strip("/").partition("/")
    if parts.scheme not in {"http", "https"} or not parts.netloc or "@" in parts.netloc or not mount or not path:
        raise SecretsError("store-unknown", f"{STORE} is no address of a Vault", FORMS)
    token = environ.get("VAULT_TOKEN", "")
    if not token and (file := environ.get("VAULT_TOKEN_FILE")):
        token = (read_file(Path(file)) or Secret("")).reveal()
    if not token:
        raise SecretsError("key-missing", "there is no token for the Vault", "set VAULT_TOKEN or VAULT_TOKEN_FILE")
    return VaultKv2(f"{parts.scheme}://{parts.netloc}", Secret(token), mount=mount, path=path)
