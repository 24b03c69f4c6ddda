"""Secrets that the platform underneath hands in, and that are changed there: mounted files and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tradewind.chassis.secrets import MAX_VALUE_BYTES, Entry, SecretsError, check_name
from tradewind.chassis.settings import Secret

PREFIX = "TRADEWIND_SECRET_"


class MountedFiles:
    """A file a secret in `folder`, as compose and Kubernetes mount them. Read anew each time: a mount follows its secret."""

    def __init__(self, folder: Path) -> None:
        self.description = f"files in {folder}"
        self._folder = folder

    def entries(self) -> list[Entry]:
        try:
            # Kubernetes keeps its versions in folders that begin with two dots.
            files = [path for path in self._folder.iterdir() if not path.name.startswith(".") and path.is_file()]
            return sorted(
                (Entry(path.name, datetime.fromtimestamp(path.stat().st_mtime, UTC)) for path in files),
                key=lambda entry: entry.name,
            )
        except OSError as error:
            raise SecretsError("unreadable", f"{self._folder} cannot be read: {error.strerror}") from None

    def find(self, name: str) -> Secret | None:
        check_name(name)
        return read_file(self._folder / name)

    def put(self, name: str, value: Secret) -> None:  # noqa: ARG002 - the store's interface
        raise SecretsError(
            "read-only",
            f"{name}: mounted files are changed where they come from",
            "change the Secret of the cluster or compose",
        )


class Environment:
    """Variables `TRADEWIND_SECRET_*`: `TRADEWIND_SECRET_STRIPE_API_KEY` is `stripe_api_key`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.description = f"environment, {PREFIX}*"
        self._environ = environ

    def entries(self) -> list[Entry]:
        names = (name for name, value in self._environ.items() if name.startswith(PREFIX) and value)
        return [Entry(name) for name in sorted(name.removeprefix(PREFIX).lower() for name in names)]

    def find(self, name: str) -> Secret | None:
        check_name(name)
        value = self._environ.get(PREFIX + name.upper())
        return Secret(value) if value else None

    def put(self, name: str, value: Secret) -> None:  # noqa: ARG002 - the store's interface
        raise SecretsError(
            "read-only", f"{name}: the environment of a process cannot be changed", "set it where it is started"
        )


def read_file(path: Path) -> Secret | None:
    """The text in `path` without the white space around it; None where there is no file, or nothing in it."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_VALUE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretsError("unreadable", f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_VALUE_BYTES:
        raise SecretsError("value-invalid", f"{path} has more than {MAX_VALUE_BYTES} bytes")
    try:
        return Secret(raw.decode().strip()) if raw.strip() else None
    except UnicodeDecodeError:
        raise SecretsError("value-invalid", f"{path} is no text") from None
