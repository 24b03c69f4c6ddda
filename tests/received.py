"""Events as a consumer's handlers get them."""

from __future__ import annotations

from datetime import UTC, datetime

from tradewind.chassis.events import E, Received
from tradewind.chassis.ids import new_id


def received(event: E, *, subject: str | None = None, version: int = 1, time: datetime | None = None) -> Received[E]:
    """`event` as if it had just come off the bus."""
    return Received(
        id=new_id(), type=event.TYPE, subject=subject or new_id(), version=version, time=time or datetime.now(UTC),
        traceparent=None, data=event, topic=event.TOPIC, partition=0, offset=0,
    )  # fmt: skip
