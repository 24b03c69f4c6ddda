"""The proxies of a fault run: one between each process and each engine it speaks to, and one before the public door."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from tradewind.chaos.proxy import Address, Proxy
from tradewind.stack.rooms import CONTROL_PLANE
from tradewind.stack.state import State

EDGE = "client/edge"
BANK = "client/bank"
"""The provider's challenge page. Its address is in orders, and must stay the same when the platform is started again."""
CLIENTS = (EDGE, BANK)
BROKER = "rooms/kafka"
"""A broker sends its clients to one address, so all rooms go the same way to it."""
_OF_EVERY_ROOM = ("postgres", "bus", "valkey", "mesh", "registry")
_PARTICULAR = (("payment", "psp"), ("notification", "smtp"), ("psp-sandbox", "webhooks"))


def ways(rooms: Iterable[str], *, kafka: bool = False) -> list[str]:
    """All ways there is a proxy on: `order/postgres`, `payment/psp`, ... and the clients' to the edge."""
    rooms = list(rooms)
    behind = [room for room in rooms if room != CONTROL_PLANE]
    found = [f"{room}/{what}" for room in behind for what in _OF_EVERY_ROOM if not (kafka and what == "bus")]
    found += [BROKER] if kafka else []
    return [*found, *(f"{who}/{what}" for who, what in _PARTICULAR if who not in rooms or who in behind), EDGE, BANK]


class Links:
    """Opens a proxy for each way; where they lead is read from `ports.json` at each connection, as ports may change."""

    def __init__(self, state: State, edge: Address, rooms: Iterable[str], *, kafka: bool = False) -> None:
        places: dict[str, Callable[[], Address | None]] = {
            "postgres": partial(_port_of, state, "postgres", None),
            "bus": partial(_port_of, state, "postgres", None),
            "valkey": partial(_port_of, state, "valkey", None),
            "mesh": partial(_port_of, state, "envoy", "egress_port"),
            "registry": partial(_port_of, state, f"{CONTROL_PLANE}-1", "control_port"),
            "psp": partial(_port_of, state, "psp-sandbox", None),
            "bank": partial(_port_of, state, "psp-sandbox", None),
            "smtp": partial(_port_of, state, "mailbox", None),
            "webhooks": lambda: edge,
            "edge": lambda: edge,
            "kafka": lambda: self.broker,
        }
        self.broker: Address | None = None
        """Where the proxy on the way to Kafka leads."""
        self._proxies = {way: Proxy(places[way.partition("/")[2]]) for way in ways(rooms, kafka=kafka)}

    def __getitem__(self, way: str) -> Proxy:
        return self._proxies[way]

    async def open(self) -> None:
        """Listen everywhere."""
        for proxy in self._proxies.values():
            await proxy.open()

    async def close(self) -> None:
        """Cut everything."""
        for proxy in self._proxies.values():
            await proxy.close()

    def detours(self) -> dict[str, str]:
        """The ways of the platform's processes, for `TRADEWIND_DETOURS`; the clients' is theirs to know."""
        return {way: f"127.0.0.1:{proxy.port}" for way, proxy in self._proxies.items() if way not in (*CLIENTS, BROKER)}

    @property
    def bank_url(self) -> str:
        """The provider's pages as the clients reach them."""
        return f"http://127.0.0.1:{self._proxies[BANK].port}"

    @property
    def edge_url(self) -> str:
        """The public door as the clients of the run reach it."""
        return f"http://127.0.0.1:{self._proxies[EDGE].port}"


def _port_of(state: State, name: str, field: str | None) -> Address | None:
    found = state.ports().get(name)
    port = found.get(field) if field is not None and isinstance(found, dict) else found
    return ("127.0.0.1", port) if isinstance(port, int) else None
