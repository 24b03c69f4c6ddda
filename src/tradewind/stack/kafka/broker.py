"""One broker: its configuration, its start in about a second, its end."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from tradewind.stack import probe
from tradewind.stack.errors import StackError
from tradewind.stack.kafka.jars import Installation, fetch
from tradewind.stack.lone_engine import LoneEngine
from tradewind.stack.ports import free_port
from tradewind.stack.process import spawn

JVM_FLAGS = (
    "-Xmx256m",
    "-Xms32m",
    "-Xss256k",
    # Small and quick to start; nobody here measures a broker's peak.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxMetaspaceSize=96m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


class KafkaEngine(LoneEngine):
    """One broker with its data and its log in `folder`. An async context manager: started on entry, stopped on exit.

    Loopback, no authentication. What it acknowledged survives `kill -9` of it, because it is in the kernel's page cache by
    then; a power cut it survives only with `settings={"log.flush.interval.messages": "1"}`. (A production cluster
    answers both by replication: `acks=all` with `min.insync.replicas` 2.)

    `proxy_port`: who comes in through a proxy that listens there stays behind it, see `proxied_bootstrap`.
    """

    STOP_GRACE_S = 15.0

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        proxy_port: int | None = None,
        settings: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`settings` are added to `server.properties`."""
        super().__init__(folder / "broker.log")
        self.port = port or free_port()
        self.behind_proxy_port = free_port()
        self.proxy_port = proxy_port or self.behind_proxy_port
        self._controller_port = free_port()
        self._folder = folder
        self._settings = dict(settings or {})
        self._environ = environ

    @property
    def bootstrap(self) -> str:
        """`host:port`, as clients name it."""
        return f"127.0.0.1:{self.port}"

    @property
    def proxied_bootstrap(self) -> str:
        """`host:port` of the proxy, which has to forward to `behind_proxy_port`; the broker sends clients nowhere else."""
        return f"127.0.0.1:{self.proxy_port}"

    @property
    def url(self) -> str:
        """As `BUS_URL` takes it."""
        return f"kafka://{self.bootstrap}"

    async def start(self) -> None:
        """Fetch what is missing, format the folder if it is new, start, and return once requests are answered.

        Raises:
            StackError: nothing to start, or the broker's last words.
        """
        installed = await asyncio.to_thread(fetch, self._environ)
        if not installed.archive.exists():
            await self._archive_classes(installed)
        await self._start(installed)

    async def _start(self, installed: Installation, *flags: str) -> None:
        configuration = self._configure()
        java = [installed.java, *JVM_FLAGS, *(flags or _with_archive(installed)), "-cp", installed.classpath]
        if not (self._folder / "data/meta.properties").exists():
            await self._format(java, configuration)
        argv = [*java, "kafka.Kafka", str(configuration)]
        await self._run("Kafka", argv, lambda: probe.kafka("127.0.0.1", self.port))

    async def _format(self, java: list[str], configuration: Path) -> None:
        # Never reuse the archive's writer: two that end would both write it.
        plain = [word for word in java if not word.startswith("-XX:ArchiveClassesAtExit")]
        argv = [*plain, "kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(configuration)]
        if await spawn(argv, log=self.log).wait() != 0:
            raise StackError(f"Kafka's folder could not be formatted: {self._last_words()}")

    def _configure(self) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / "server.properties"
        lines = [f"{name}={value}" for name, value in (self._properties() | self._settings).items()]
        path.write_text("\n".join(["# Written at each start: changes made here are lost.", *lines, ""]), "utf-8")
        return path

    def _properties(self) -> dict[str, str]:
        here = "127.0.0.1"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{here}:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "DIRECT",
            "listener.security.protocol.map": "DIRECT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "listeners": ",".join(
                [
                    f"DIRECT://{here}:{self.port}",
                    f"PROXIED://{here}:{self.behind_proxy_port}",
                    f"CONTROLLER://{here}:{self._controller_port}",
                ]
            ),
            "advertised.listeners": f"DIRECT://{here}:{self.port},PROXIED://{here}:{self.proxy_port}",
            "log.dirs": str(self._folder / "data"),
            # A topic has the partitions its maker gave it, or does not exist.
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # After kill -9 the next start must not wait for the session of the dead one: 9 s by default.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            # The defaults are made for large machines: 128 MB for the cleaner alone.
            "log.cleaner.dedupe.buffer.size": "2097152",
            "log.index.size.max.bytes": "1048576",
            "log.segment.bytes": "67108864",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "num.replica.fetchers": "1",
            "background.threads": "2",
            "group.coordinator.threads": "1",
        }

    async def _archive_classes(self, installed: Installation) -> None:
        """Let a broker run once and write down its classes as it ends: every later start takes half the time."""
        folder = self._folder / "archiving"
        once = KafkaEngine(folder, environ=self._environ)
        draft = installed.archive.with_name(f"classes.{os.getpid()}.jsa")
        await once._start(installed, f"-XX:ArchiveClassesAtExit={draft}")
        await once.stop()
        await asyncio.to_thread(shutil.rmtree, folder)
        if draft.exists():
            draft.replace(installed.archive)


def _with_archive(installed: Installation) -> tuple[str, ...]:
    return (f"-XX:SharedArchiveFile={installed.archive}",) if installed.archive.exists() else ()


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "x")
