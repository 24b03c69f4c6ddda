"""The state folder: everything one stack keeps on disk, `.tradewind/` or `TRADEWIND_HOME`, readable by its owner only.

postgres/ valkey/ gateway/ envoy/ sandbox/   what the engines keep
mail/ logs/                                  what they say
config/                                      the live settings and their history
secrets.enc                                  passwords and keys, made once, encrypted with a key that lies elsewhere
ports.json                                   what listens where, while it runs
supervisor.json supervisor.sock lock         how the other verbs find the supervisor
processes.json                               who was started, so that a crashed stack can be cleaned up
bus.json                                     which bus the events travel on, and since when if it was another one before
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tradewind.stack.errors import StackError

if TYPE_CHECKING:
    from tradewind.stack.kept_secrets import Secrets

DEFAULT_FOLDER = ".tradewind"
DATA = ("postgres", "valkey", "gateway", "envoy", "sandbox", "mail", "logs", "config")
"""Folders that `--fresh` wipes."""

T = TypeVar("T")

_LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel's `sun_path` holds 108 on Linux and 104 on macOS."""


class SupervisorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`supervisor.json`: the supervisor that runs now, or the last one. `created` tells its pid from a reused one."""

    pid: int
    created: float
    socket: str
    url: str
    tls_url: str = ""
    """The public URL over TLS; empty: there is none."""
    tls_ca_file: str = ""
    """What to trust for it, where the certificate is of our own making."""
    kafka_url: str = ""
    """Where the events travel; empty: in the database `bus`."""


class BusRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`bus.json`: where the events of this folder travel, as in `SupervisorRecord`; `since` is None if that was always so."""

    kafka_url: str
    since: datetime | None = None


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `processes.json`."""

    name: str
    pid: int
    created: float


class State:
    """Paths and small files of one state folder. Nothing is created before `create`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> State:
        """The state folder the environment asks for."""
        return cls(Path(environ.get("TRADEWIND_HOME") or DEFAULT_FOLDER))

    @property
    def exists(self) -> bool:
        """Whether a stack was ever started here."""
        return (self.folder / "lock").exists()

    @property
    def logs(self) -> Path:
        """Folder of the log files, one a process."""
        return self.folder / "logs"

    @property
    def mail(self) -> Path:
        """Folder of the caught mail, one `.eml` a message."""
        return self.folder / "mail"

    def log(self, name: str) -> Path:
        """Log file of the process `name`."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make the folder and those inside. Raises StackError when it cannot be written."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            for name in DATA:
                if name != "postgres":  # made by initdb, which wants it empty
                    (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(
                f"the state folder {self.folder} cannot be written: {error.strerror}",
                "set TRADEWIND_HOME to a folder of yours",
            ) from error

    def lock(self) -> Lock | None:
        """Become the one supervisor of this folder; None when another one is alive."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return Lock(descriptor)

    def wipe(self) -> None:
        """Delete the data and the secrets that belong to it; the folder and its lock stay."""
        for name in DATA:
            _delete(self.folder / name)
        for pattern in ("*.json", "secrets.enc*"):
            for file in self.folder.glob(pattern):
                file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the whole folder."""
        self.wipe()
        shutil.rmtree(self.folder, ignore_errors=True)

    def socket_path(self) -> Path:
        """Where the supervisor's socket goes: in the folder, or in a short private one when the path is too long."""
        path = self.folder / "supervisor.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return _private(Path("/tmp") / f"tradewind-{os.geteuid()}-{digest}") / "supervisor.sock"  # noqa: S108

    def secrets(self) -> Secrets:
        """The passwords and keys kept here."""
        from tradewind.stack.kept_secrets import Secrets  # here: most verbs need no ciphers

        return Secrets(self.folder)

    def supervisor(self) -> SupervisorRecord | None:
        """What `supervisor.json` says, None when there is none that reads."""
        return _read(self.folder / "supervisor.json", SupervisorRecord)

    def write_supervisor(self, record: SupervisorRecord) -> None:
        """Say who supervises this folder."""
        write_json(self.folder / "supervisor.json", record)

    def bus(self) -> BusRecord | None:
        """The bus of the last run; None when nothing ran here yet."""
        return _read(self.folder / "bus.json", BusRecord)

    def remember_bus(self, kafka_url: str, now: datetime) -> bool:
        """Keep which bus is used from `now` on; returns whether it was another one before."""
        before = self.bus()
        changed = before is not None and before.kafka_url != kafka_url
        if before is None or changed:
            write_json(self.folder / "bus.json", BusRecord(kafka_url=kafka_url, since=now if changed else None))
        return changed

    def forget_run(self, socket: Path) -> None:
        """Remove what only speaks of a running stack."""
        socket.unlink(missing_ok=True)
        if socket.parent != self.folder and socket.parent.exists():
            socket.parent.rmdir()
        for name in ("supervisor.json", "processes.json", "ports.json"):
            (self.folder / name).unlink(missing_ok=True)

    def processes(self) -> list[ProcessRecord]:
        """The processes last written by `write_processes`."""
        return _read(self.folder / "processes.json", list[ProcessRecord]) or []

    def write_processes(self, records: list[ProcessRecord]) -> None:
        """Say which processes are ours."""
        write_json(self.folder / "processes.json", records)

    def ports(self) -> dict[str, Any]:
        """What listens where: name -> port, or name -> {port, management_port} for a service."""
        return _read(self.folder / "ports.json", dict[str, Any]) or {}

    def write_ports(self, ports: Mapping[str, Any]) -> None:
        """Say what listens where."""
        write_json(self.folder / "ports.json", ports)


class Lock:
    """The right to supervise a folder, held until `release` or the death of this process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another supervisor start."""
        os.close(self._descriptor)


def write_json(path: Path, value: object) -> None:
    """Replace `path` in one step, mode 0600: a reader sees the old content or the new, never half of one."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=2))
    scratch.replace(path)


def _private(folder: Path) -> Path:
    """`folder`, made or found to be ours alone; another one with a random name where somebody else got there first."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="tradewind-"))


def _delete(folder: Path) -> None:
    """Delete a folder; one that another user's PostgreSQL keeps elsewhere is reached through its link."""
    target = folder.resolve()
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(target, ignore_errors=True)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
