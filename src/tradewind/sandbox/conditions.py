"""The weather of the sandbox: how slow it is, whether it is away, how its webhooks travel.

POST /v1/_control changes it; it starts as the settings say and is forgotten at a restart. Fields of the body, each
optional: `outage_s` (0 ends one), `outage_mode` (`unavailable`: 503 at once; `silent`: no answer), `latency_ms`,
`webhook_delay_ms`, `webhook_double_percent`, `webhook_shuffle`; `script`: rules of what goes wrong call by call, played
from their beginning (`script.py`). An outage takes the API and the challenge page away
and holds webhooks back; /livez and /v1/_control stay.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from tradewind.chassis.clock import Clock
from tradewind.sandbox.methods import chance
from tradewind.sandbox.playbook import Playbook, RuleView
from tradewind.sandbox.script import Script, read_script
from tradewind.sandbox.settings import SandboxSettings

SHUFFLE_SPREAD_MS = 250
DOUBLE_SPREAD_MS = 500


class OutageMode(StrEnum):
    """How being away looks from outside."""

    UNAVAILABLE = "unavailable"
    SILENT = "silent"


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/_control; what is absent stays."""

    outage_s: Annotated[float, Meta(ge=0, le=3_600)] | None = None
    outage_mode: OutageMode | None = None
    latency_ms: Annotated[int, Meta(ge=0, le=60_000)] | None = None
    webhook_delay_ms: Annotated[int, Meta(ge=0, le=600_000)] | None = None
    webhook_double_percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    webhook_shuffle: bool | None = None
    script: Script | None = None


class ConditionsView(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of /v1/_control: the weather now, and the webhooks that are not delivered."""

    outage_left_s: float
    outage_mode: OutageMode
    latency_ms: int
    webhook_delay_ms: int
    webhook_double_percent: int
    webhook_shuffle: bool
    webhooks_pending: int
    webhooks_abandoned: int
    script: list[RuleView]


class Conditions:
    """The weather now. Changed on the event loop; the writer thread reads single fields of it, which is safe."""

    def __init__(self, settings: SandboxSettings, clock: Clock) -> None:
        self._clock = clock
        self._seed = settings.seed
        self._outage_until_s = 0.0
        self.outage_mode = OutageMode.UNAVAILABLE
        self.latency_ms = settings.latency_ms
        self.webhook_delay_ms = settings.webhook_delay_ms
        self.webhook_double_percent = settings.webhook_double_percent
        self.webhook_shuffle = settings.webhook_shuffle
        self.playbook = Playbook(read_script(settings.script), settings.seed)

    @property
    def outage_left_s(self) -> float:
        """Seconds until the outage ends; 0 when there is none."""
        return max(0.0, self._outage_until_s - self._clock.monotonic_s())

    def change(self, control: Control) -> None:
        """Make the weather that `control` asks for."""
        if control.outage_s is not None:
            self._outage_until_s = self._clock.monotonic_s() + control.outage_s
        if control.script is not None:
            self.playbook.take(control.script)
        for name in ("outage_mode", "latency_ms", "webhook_delay_ms", "webhook_double_percent", "webhook_shuffle"):
            value = getattr(control, name)
            if value is not None:
                setattr(self, name, value)

    def webhook_departures_ms(self, event_type: str, reference: str) -> list[int]:
        """How long after the change each copy of a webhook, one or two, sets out: drawn from the seed."""
        first_ms = self.webhook_delay_ms
        if self.webhook_shuffle:
            first_ms += int(chance(self._seed, "shuffle", event_type, reference) * SHUFFLE_SPREAD_MS)
        if chance(self._seed, "double", event_type, reference) * 100 >= self.webhook_double_percent:
            return [first_ms]
        return [first_ms, first_ms + int(chance(self._seed, "again", event_type, reference) * DOUBLE_SPREAD_MS)]

    def view(self, *, webhooks_pending: int, webhooks_abandoned: int) -> ConditionsView:
        """The weather for an answer."""
        return ConditionsView(
            outage_left_s=round(self.outage_left_s, 3),
            outage_mode=self.outage_mode,
            latency_ms=self.latency_ms,
            webhook_delay_ms=self.webhook_delay_ms,
            webhook_double_percent=self.webhook_double_percent,
            webhook_shuffle=self.webhook_shuffle,
            webhooks_pending=webhooks_pending,
            webhooks_abandoned=webhooks_abandoned,
            script=self.playbook.view(),
        )
