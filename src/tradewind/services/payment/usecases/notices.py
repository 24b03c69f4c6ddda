"""What the provider tells by itself. Nothing of it is believed but that it is worth asking, so order and doubles do not matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tradewind.chassis.errors import NotFound
from tradewind.services.payment.domain.work import Notice
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import notices

KEEP_DAYS = 7
FORGET_BITES = 10


async def hear_provider(parts: Parts, provider: str, headers: Mapping[str, str], body: bytes) -> None:
    """Check a webhook and remember it; what it is about is asked for soon. Returns once that is committed.

    Raises:
        NotFound: `provider-not-found`.
        Invalid: 400 `signature-invalid`, `malformed-json`.
    """
    if provider != parts.provider.name:
        raise NotFound("provider-not-found", "Payments do not go through this provider.")
    await parts.notices.submit(parts.provider.read_notice(headers, body, parts.clock.now()))


async def record_notices(parts: Parts, heard: Sequence[Notice]) -> None:
    """Remember webhooks, each once, and make what they are about due."""
    await notices.record(parts.database, parts.provider.name, heard)


async def forget_notices(parts: Parts) -> None:
    """Delete webhooks older than any provider repeats them."""
    for _ in range(FORGET_BITES):
        if not await notices.forget(parts.database, KEEP_DAYS):
            return
