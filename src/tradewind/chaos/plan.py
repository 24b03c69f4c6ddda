"""What goes wrong, when, and where: drawn from the seed and the options and from nothing else, so a run can be replayed.

A plan is a row of waves. A wave has one fault, or two of which the second strikes while the first lasts or is being
recovered from; the next wave begins when everything is well again, so its moment on the clock depends on the machine, its
content never.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar, get_args

import msgspec

from tradewind.chaos.links import BROKER, CLIENTS, EDGE, ways
from tradewind.stack.rooms import CONTROL_PLANE, all_rooms

Kind: TypeAlias = Literal[
    "kill", "stop", "restart", "partition", "delay", "reset", "messages", "webhooks", "unruly", "outage", "skew", "disk"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

T = TypeVar("T")

SUPERVISOR = "supervisor"
BACKEND = "postgres-backend"
KAFKA = "kafka"
ENGINES = ("postgres", "valkey", "envoy", "psp-sandbox", "mailbox")
WAYS_OF_MONEY = (
    "order/postgres",
    "order/bus",
    "payment/postgres",
    "payment/bus",
    "payment/psp",
    "psp-sandbox/webhooks",
)
TOPICS = ("order", "payment", "auth")
UNRULY_CALLS = ("silent", "error", "reset", "cut", "slow", "garbage", "unknown_status")
UNRULY_WEBHOOKS = ("never", "before_answer", "overtaken", "old_signature", "unknown_charge")
"""What the provider does to every second call or webhook; words of its script. Wrong money is for other tests: then it is the
provider's books that are wrong."""
RECOVERY_S = 1.5
"""What a wave is assumed to need until all is well again; decides how many waves fit into the seconds."""
PAIRED = 0.4
"""Share of waves with two faults."""
ALONE: frozenset[Kind] = frozenset({"restart", "disk"})
"""A rolling restart waits for a new process to be ready, and a full disk leaves nothing to see of another fault."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of. `scale` gives a room more than one instance; `keep` leaves the state of a clean run there; with
    `kafka` events travel on an Apache Kafka of the run's own."""

    seed: int
    seconds: float = 60.0
    rate_per_s: float = 20.0
    kinds: tuple[Kind, ...] = KINDS
    keep: bool = False
    kafka: bool = False
    scale: Mapping[str, int] = msgspec.field(default_factory=lambda: {"order": 2, "payment": 2})


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that goes wrong. What does not last has 0 seconds.

    `mode` says how: of a partition `stall` or `refuse`, of an outage `unavailable` or `silent`, of an unruly provider a word of its
    script. `amount` is how much: of a
    delay milliseconds a chunk, of a reset the bytes a connection passes, of a skew seconds, of messages how many.
    """

    kind: Kind
    target: str
    seconds: float = 0.0
    mode: str = ""
    amount: int = 0

    def __str__(self) -> str:
        words = [self.kind, self.target, self.mode, str(self.amount) if self.amount else ""]
        return " ".join(filter(None, words)) + (f" for {self.seconds:.1f} s" if self.seconds else "")


class Strike(msgspec.Struct, frozen=True):
    """A fault and how many seconds after the beginning of its wave it strikes."""

    after_s: float
    fault: Fault


class Wave(msgspec.Struct, frozen=True):
    """Faults that belong together, `pause_s` after the last wave is over."""

    pause_s: float
    strikes: tuple[Strike, ...]

    @property
    def nominal_s(self) -> float:
        """How long it is assumed to take."""
        longest = max(strike.after_s + strike.fault.seconds for strike in self.strikes)
        return self.pause_s + longest + RECOVERY_S


def make_plan(options: Options) -> list[Wave]:
    """The waves of a run: at least one, and as many as fit into its seconds.

    Kinds are dealt like cards, kills and partitions more often than others, and of each kind the targets, so that a run meets
    all before it meets one again.
    """
    dealer = _Dealer(options)
    waves: list[Wave] = []
    left_s = options.seconds
    while left_s > 0:
        wave = dealer.wave()
        waves.append(wave)
        left_s -= wave.nominal_s
    return waves


def instances(options: Options) -> list[str]:
    """Names of the room processes, as `tradewind ps` has them."""
    return [f"{room}-{number}" for room in all_rooms() for number in range(1, options.scale.get(room, 1) + 1)]


class _Shape(NamedTuple):
    """What may be drawn for a kind: seconds it lasts (between two numbers), its modes, its amounts; `cards` in the deck."""

    lasts_s: tuple[float, float] = (0.0, 0.0)
    modes: Sequence[str] = ("",)
    amounts: Sequence[int] = (0,)
    cards: int = 1


_SHAPES: Mapping[Kind, _Shape] = {
    "kill": _Shape(cards=4),
    "stop": _Shape((0.5, 4.0), cards=2),
    "restart": _Shape(),
    "partition": _Shape((1.0, 6.0), modes=("stall", "refuse"), cards=3),
    "delay": _Shape((2.0, 5.0), amounts=(10, 50, 200, 800)),
    "reset": _Shape((1.0, 4.0), amounts=(100, 1_000, 10_000, 100_000), cards=2),
    "messages": _Shape(amounts=(20, 50, 200)),
    "webhooks": _Shape((3.0, 6.0), amounts=(0, 300, 2_000)),
    "unruly": _Shape((3.0, 6.0), modes=(*UNRULY_CALLS, *UNRULY_WEBHOOKS)),
    "outage": _Shape((2.0, 6.0), modes=("unavailable", "silent")),
    "skew": _Shape((4.0, 8.0), amounts=(-280, -120, -70, 70, 120, 280)),
    "disk": _Shape((2.0, 5.0)),
}


class _Dealer:
    def __init__(self, options: Options) -> None:
        self._random = random.Random(f"chaos {options.seed}")
        rooms = all_rooms()
        processes = [*ENGINES, *([KAFKA] if options.kafka else []), SUPERVISOR, *instances(options)]
        there = [way for way in ways(rooms, kafka=options.kafka) if way not in CLIENTS]
        # The ways of money come up twice as often.
        inner = [*there, *(BROKER if options.kafka and way.endswith("/bus") else way for way in WAYS_OF_MONEY)]
        targets: dict[Kind, Sequence[str]] = {
            "kill": [*processes, BACKEND],
            "stop": processes,
            "restart": [*ENGINES, *rooms],
            "partition": inner,
            "delay": [*inner, EDGE],
            "reset": [*inner, EDGE],
            "messages": TOPICS,
            "webhooks": ["psp-sandbox"],
            "unruly": ["psp-sandbox"],
            "outage": ["psp-sandbox"],
            "skew": [room for room in rooms if room != CONTROL_PLANE],
            "disk": ["postgres"],
        }
        self._held: Fault | None = None
        cards = [kind for kind in options.kinds for _ in range(_SHAPES[kind].cards)]
        self._kinds: _Deck[Kind] = _Deck(self._random, cards)
        self._targets = {kind: _Deck(self._random, targets[kind]) for kind in options.kinds}

    def wave(self) -> Wave:
        pause_s = self._between(0.3, 1.5)
        first = self._held or self._fault()
        self._held = None
        strikes = [Strike(0.0, first)]
        paired = self._random.random() < PAIRED
        after_s = self._between(0.1, 2.0)
        if paired and not _alone(first):
            second = self._fault()
            if _alone(second) or second.target == first.target:
                self._held = second  # it gets the next wave
            else:
                strikes.append(Strike(after_s, second))
        return Wave(pause_s, tuple(strikes))

    def _fault(self) -> Fault:
        kind = self._kinds.deal()
        shape = _SHAPES[kind]
        return Fault(
            kind=kind,
            target=self._targets[kind].deal(),
            seconds=self._between(*shape.lasts_s),
            mode=self._random.choice(shape.modes),
            amount=self._random.choice(shape.amounts),
        )

    def _between(self, low: float, high: float) -> float:
        return round(self._random.uniform(low, high), 1)


class _Deck(Generic[T]):
    """Deals all cards in a random order before any comes again."""

    def __init__(self, source: random.Random, cards: Sequence[T]) -> None:
        self._random = source
        self._cards = list(cards)
        self._left: list[T] = []

    def deal(self) -> T:
        if not self._left:
            self._left = self._random.sample(self._cards, len(self._cards))
        return self._left.pop()


def _alone(fault: Fault) -> bool:
    return fault.kind in ALONE or fault.target == SUPERVISOR
