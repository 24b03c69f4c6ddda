"""The whole stack on one page: which processes there are, what each waits for, and how each is started.

    postgres ──> prepare (databases, migrations, keys) ──┐
    valkey ──────────────────────────────────────────────┤
    gateway (registry, xDS) ──> envoy (edge, egress) ────┼──> auth user order payment notification analytics
    psp-sandbox ─────────────────────────────────────────┤        payment
    mailbox ─────────────────────────────────────────────┘        notification

Everything without an arrow into it starts at once; rooms load their code meanwhile and wait at their gate. Stopping goes
the other way. Engines given by URL are not started.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable

from tradewind.chassis.secrets.keys import KEY, KEY_FILE
from tradewind.sandbox.settings import SandboxSettings
from tradewind.stack import envoy, probe
from tradewind.stack import valkey as valkey_engine
from tradewind.stack.hot_restart import forget_shared_memory
from tradewind.stack.ports import free_port, release_port
from tradewind.stack.postgres import DEATH_SIGNAL, STOP_GRACE_S, STOP_SIGNAL, Cluster, find_binaries
from tradewind.stack.room_environment import Addresses, Surroundings
from tradewind.stack.room_settings import require_known_sections, require_sound, settings_class
from tradewind.stack.rooms import CONTROL_PLANE, all_rooms
from tradewind.stack.settings import StackSettings
from tradewind.stack.state import State
from tradewind.stack.unit import Launch, Unit
from tradewind.stack.unprivileged import disguise

ROOM_NEEDS = {
    "payment": ("psp-sandbox",),
    "notification": ("mailbox",),
}
"""What single rooms wait for beside the databases, the cache and the mesh."""

DRAIN_GRACE_S = 20.0
"""A room drains for up to 10 s (its `drain_s`), then closes its pools."""


class Topology:
    """The units of one stack. Ports that must stay the same for its whole life are chosen here."""

    def __init__(self, settings: StackSettings, state: State, administrator: dict[str, str]) -> None:
        self._settings = settings
        self._state = state
        self._secrets = state.secrets()
        self.rooms = all_rooms()
        self._given: dict[str, tuple[int, int]] = {}
        self._postgres_port = free_port()
        self._valkey_port = free_port()
        self._smtp_port = free_port()
        self.addresses = Addresses(
            postgres_url=settings.postgres_url
            or f"postgresql://postgres:{self._secrets.get('postgres')}@127.0.0.1:{self._postgres_port}/postgres",
            valkey_url=settings.valkey_url or f"redis://:{self._secrets.get('valkey')}@127.0.0.1:{self._valkey_port}/0",
            smtp_url=settings.smtp_url or f"smtp://127.0.0.1:{self._smtp_port}",
            kafka_url=settings.kafka_url,
            consul_url=settings.consul_url,
            edge_host=settings.host,
            edge_port=settings.port,
            edge_tls_port=settings.tls_port,
            gateway_port=free_port(),
            gateway_management_port=free_port(),
            control_port=free_port(),
            egress_port=free_port(),
            envoy_admin_port=free_port(),
            sandbox_port=free_port(),
            detours=settings.detours,
        )
        self._around = Surroundings(
            environ=settings.environ,
            rooms=self.rooms,
            addresses=self.addresses,
            secrets=self._secrets,
            folder=state.folder,
            administrator=administrator,
        )

    def units(self) -> list[Unit]:
        """All of them, in the order `tradewind ps` lists them.

        Raises StackError: an engine is missing, or a setting would stop a process at its start.
        """
        self._require_sound_settings()
        own_engines = [
            *([] if self._settings.postgres_url else [self._postgres()]),
            *([] if self._settings.valkey_url else [self._valkey()]),
            *([] if self._settings.smtp_url else [self._mailbox()]),
        ]
        services = [self._room(room) for room in self.rooms if room != CONTROL_PLANE]
        return [*own_engines, self._prepare(), self._sandbox(), self._gateway(), self._envoy(), *services]

    def _require_sound_settings(self) -> None:
        """Ports and instances are given out later; anything else is what the processes will read."""
        require_known_sections(self._around.configuration, self.rooms)
        rooms = [room for room in self.rooms if room != CONTROL_PLANE]
        require_sound(
            {
                settings_class(CONTROL_PLANE): self._around.of_gateway(f"{CONTROL_PLANE}-1"),
                SandboxSettings: self._around.of_sandbox(),
                **{settings_class(room): self._around.of_room(room, f"{room}-1", 0, 0) for room in rooms},
            }
        )

    async def serving(self) -> bool:
        """Whether the public door answers for the catalogue: with all units ready, an order can be placed."""
        return (await probe.http(f"{self.addresses.edge_url}/v1/products")).status == 200

    def _postgres(self) -> Unit:
        cluster = Cluster(
            self._state.folder / "postgres", find_binaries(self._settings.environ), disguise(self._settings.environ)
        )

        async def prepare() -> None:
            await cluster.prepare(self._secrets.get("postgres"), self._state.log("postgres"))

        async def accepts(pid: int) -> bool:
            return cluster.accepts(pid)

        return Unit(
            name="postgres",
            launch=lambda _: Launch(
                argv=tuple(cluster.argv(self._postgres_port)),
                env=self._around.inherited(),
                prepare=prepare,
                ready=accepts,
                url=f"postgresql://127.0.0.1:{self._postgres_port}",
                ports=self._postgres_port,
            ),
            stop_signal=STOP_SIGNAL,
            kill_signal=signal.SIGQUIT,  # immediate: the postmaster ends its backends, recovery at the next start
            death_signal=DEATH_SIGNAL,
            grace_s=STOP_GRACE_S,
        )

    def _valkey(self) -> Unit:
        password = self._secrets.get("valkey")
        binary = valkey_engine.find_binary(self._settings.environ)

        def launch(_: str) -> Launch:
            configuration = valkey_engine.configure(self._state.folder / "valkey", self._valkey_port, password)
            return Launch(
                argv=(binary, str(configuration)),
                env={**self._around.inherited(), "TZ": "UTC"},  # its log lines carry local time
                ready=lambda _pid: probe.valkey("127.0.0.1", self._valkey_port, password),
                url=f"redis://127.0.0.1:{self._valkey_port}",
                ports=self._valkey_port,
            )

        return Unit(name="valkey", launch=launch, grace_s=valkey_engine.ValkeyEngine.STOP_GRACE_S)

    def _mailbox(self) -> Unit:
        return Unit(
            name="mailbox",
            launch=lambda _: Launch(
                argv=_module("tradewind.stack.mailbox", str(self._smtp_port), str(self._state.mail)),
                env=self._around.inherited(),
                ready=lambda _pid: probe.smtp("127.0.0.1", self._smtp_port),
                url=f"smtp://127.0.0.1:{self._smtp_port}",
                ports=self._smtp_port,
            ),
        )

    def _prepare(self) -> Unit:
        return Unit(
            name="prepare",
            launch=lambda _: Launch(
                argv=_module("tradewind.stack.prepare"),
                env={
                    **self._around.inherited(),
                    "TRADEWIND_HOME": str(self._state.folder),
                    "PREPARE_POSTGRES_URL": self.addresses.postgres_url,
                    "PREPARE_BUS": "" if self.addresses.kafka_url else "1",
                    **{name: value for name in (KEY, KEY_FILE) if (value := self._settings.environ.get(name))},
                },
                gated=True,
            ),
            needs=("postgres",),
            once=True,
        )

    def _sandbox(self) -> Unit:
        url = f"http://127.0.0.1:{self.addresses.sandbox_port}"
        return Unit(
            name="psp-sandbox",
            launch=lambda _: Launch(
                argv=_module("tradewind.sandbox"),
                env=self._around.of_sandbox(),
                ready=_answers(f"{url}/livez"),
                url=url,
                ports=self.addresses.sandbox_port,
            ),
            grace_s=DRAIN_GRACE_S,
        )

    def _gateway(self) -> Unit:
        at = self.addresses
        return Unit(
            name=CONTROL_PLANE,
            room=CONTROL_PLANE,
            launch=lambda instance: Launch(
                argv=_module("tradewind.cli", "run", CONTROL_PLANE),
                env=self._around.of_gateway(instance),
                ready=_answers(f"http://127.0.0.1:{at.gateway_management_port}/livez"),
                url=f"http://127.0.0.1:{at.gateway_port}",
                ports={
                    "port": at.gateway_port,
                    "management_port": at.gateway_management_port,
                    "control_port": at.control_port,
                },
                gated=True,
            ),
            grace_s=DRAIN_GRACE_S,
        )

    def _envoy(self) -> Unit:
        at = self.addresses
        hot = envoy.HotEnvoy(
            envoy.find_binary(self._settings.environ),
            self._state.folder / "envoy",
            envoy.gateway_settings(self._around.of_gateway(CONTROL_PLANE)),
        )

        def launch(identity: str, argv: tuple[str, ...]) -> Launch:
            return Launch(
                argv=argv,
                env=self._around.inherited(),
                ready=lambda _pid: hot.is_serving(identity),
                url=at.edge_url,
                ports={
                    "edge_port": at.edge_port,
                    **({"edge_tls_port": at.edge_tls_port} if at.edge_tls_port else {}),
                    "egress_port": at.egress_port,
                    "admin_port": at.envoy_admin_port,
                },
            )

        return Unit(
            name="envoy",
            launch=lambda identity: launch(identity, hot.first(identity)),
            succeed=lambda identity, predecessor: launch(identity, hot.successor(identity, predecessor)),
            needs=(CONTROL_PLANE,),
            overlaps=True,
            drain=hot.stop_accepting,
            afterwards=lambda: forget_shared_memory(self._state.folder),
        )

    def _room(self, room: str) -> Unit:
        def launch(instance: str) -> Launch:
            port, management_port = self._fresh_ports(instance)
            return Launch(
                argv=_module("tradewind.cli", "run", room),
                env=self._around.of_room(room, instance, port, management_port),
                ready=_answers(f"http://127.0.0.1:{management_port}/readyz"),
                url=f"http://127.0.0.1:{port}",
                ports={"port": port, "management_port": management_port},
                gated=True,
            )

        return Unit(
            name=room,
            room=room,
            launch=launch,
            loads_after=("postgres",),  # so that its start is not slowed by all rooms loading at once
            needs=("postgres", "prepare", "valkey", "envoy", *ROOM_NEEDS.get(room, ())),
            instances=self._settings.scale.get(room, 1),
            overlaps=True,
            grace_s=DRAIN_GRACE_S,
        )

    def _fresh_ports(self, instance: str) -> tuple[int, int]:
        """Two free ports, new at each start: one that was taken meanwhile is never tried twice."""
        for port in self._given.pop(instance, ()):
            release_port(port)
        ports = self._given[instance] = (free_port(), free_port())
        return ports


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


def _answers(url: str) -> Callable[[int], Awaitable[bool]]:
    async def ask(_pid: int) -> bool:
        return (await probe.http(url)).status == 200

    return ask
