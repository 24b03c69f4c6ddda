"""Settings that change while the process runs.

    live.value.pending_ttl_s                       # asked for each time it is needed
    live.on_change(lambda old, new: ...)           # or heard of

`value` is one frozen object that is replaced as a whole, so nobody ever reads half of a change. A document of the live
store is taken if all of it fits this room's class, the rules across its fields included; otherwise what was in force
stays in force, and log, metrics and `/configz` say why. Only fields marked `live` are ever changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from tradewind.chassis import logs
from tradewind.chassis.live_document import Document, LiveStore, StoreAway
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.settings import Layers, Settings, SettingsError, convert, describe, hints

WAIT_S = 5.0
FIRST_BACK_OFF_S = 0.1
MAX_BACK_OFF_S = 5.0
START_WITHIN_S = 2.0
"""How long a start waits for the store; without it the process runs on the layers below, and follows."""

S = TypeVar("S", bound=Settings)
_log = logs.get_logger("configuration")


class Live(Generic[S]):
    """The settings of one process, as they are now. `start` is what the layers below the live store make."""

    def __init__(self, start: S, layers: Layers | None = None, store: LiveStore | None = None) -> None:
        self.start = start
        self.layers = layers or Layers()
        self.value = start
        self.document = Document()
        self.refused = ""
        """Why the latest document was not taken; empty when it was."""
        self.judged = 0
        """The version of the latest document that was taken or refused."""
        self.applied = 0
        """Documents taken that changed something here."""
        self._store = store
        self._listeners: list[Callable[[S, S], None]] = []

    @property
    def version(self) -> int:
        """The version of the document in force."""
        return self.document.version

    def on_change(self, apply: Callable[[S, S], None]) -> None:
        """Call `apply(old, new)` before a change is taken; if it raises, the change is refused and undone."""
        self._listeners.append(apply)

    def with_values(self, values: Mapping[str, str]) -> S:
        """What the settings would be with these live values; those of other rooms are passed over.

        Raises:
            SettingsError: one does not fit, or they do not fit together.
        """
        kind = type(self.start)
        fields: dict[str, Any] = {}
        faults: list[str] = []
        types = hints(kind)
        for row in describe(kind):
            text = values.get(row.env, "")
            if text == "" or not row.live:
                continue
            try:
                fields[row.field] = convert(text, types[row.field])
            except ValueError as exc:
                faults.append(f"{row.env}: {text!r} does not fit: {exc}. {row.meaning}")
        if faults:
            raise SettingsError(faults)
        return msgspec.structs.replace(self.start, **fields) if fields else self.start

    def take(self, document: Document) -> bool:
        """Put `document` in force; False when it does not fit and what was in force stays."""
        old = new = self.value
        told: list[Callable[[S, S], None]] = []
        self.judged = document.version
        try:
            new = self.with_values(document.values)
            if new != old:
                for apply in self._listeners:
                    told.append(apply)
                    apply(old, new)
        except Exception as exc:  # a listener is a room's own code: whatever it raises, the old value must hold
            for apply in told:
                apply(new, old)
            self.refused = f"version {document.version}: {exc}"
            _log.error("live settings refused", version=document.version, in_force=self.version, why=str(exc))
            return False
        self.value = new
        self.refused = ""
        self._tell(document, old, new)
        self.document = document
        return True

    async def open(self) -> None:
        """Take what the store holds now, if it answers in time."""
        if self._store is None:
            return
        try:
            async with asyncio.timeout(START_WITHIN_S):
                self.take(await self._store.read())
        except (StoreAway, TimeoutError) as exc:
            _log.warning("live settings are away; the layers below hold", why=str(exc) or "no answer")

    async def follow(self) -> None:
        """Take every change of the store until cancelled. With the store away, what is in force stays."""
        failures = 0
        seen = self.version
        while self._store is not None:
            try:
                document = await self._store.wait(seen, WAIT_S)
            except StoreAway as exc:
                failures += 1
                _log.warning("live settings are away; what is in force stays", why=str(exc), failures=failures)
                await asyncio.sleep(min(FIRST_BACK_OFF_S * 2 ** min(failures, 10), MAX_BACK_OFF_S))
                continue
            failures = 0
            if document.version != seen:
                seen = document.version
                self.take(document)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            await self._store.close()

    def measure(self, metrics: Metrics) -> None:
        """Show on /metrics what is in force."""
        metrics.watch("config_version", "Version of the live settings in force.", lambda: self.version)
        metrics.watch("config_applied", "Live changes that this process applied since its start.", lambda: self.applied)
        metrics.watch(
            "config_refused", "1 while the latest live settings do not fit this process.", lambda: bool(self.refused)
        )

    def _tell(self, document: Document, old: S, new: S) -> None:
        if new == old:
            return
        self.applied += 1
        change = document.changes[-1] if document.changes else None
        for row in describe(type(new)):
            before, after = getattr(old, row.field), getattr(new, row.field)
            if before != after:
                _log.info(
                    "setting changed",
                    setting=row.env,
                    old=str(before),
                    new=str(after),
                    version=document.version,
                    who=change.who if change else "",
                    reason=change.reason if change else "",
                )
