"""How payment-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.foundation import Foundation
from tradewind.chassis.service import Service
from tradewind.contracts import payment
from tradewind.services.payment import usecases
from tradewind.services.payment.api import api
from tradewind.services.payment.charger import Charger, Work
from tradewind.services.payment.consumer import handlers
from tradewind.services.payment.domain.work import ChargeOutcome, Notice, RefundOutcome
from tradewind.services.payment.gather import GroupCommit
from tradewind.services.payment.jobs import jobs
from tradewind.services.payment.measures import Measures
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.providers import Provider
from tradewind.services.payment.providers.opening import open_provider
from tradewind.services.payment.settings import PaymentSettings

LINGER_S = 0.02
"""The provider takes longer."""

NOTICE_LINGER_S = 0.05


def create_app(settings: PaymentSettings, parts: Parts | None = None) -> Service[Parts]:
    """The service, ready to be served; `parts` replaces what it would assemble by itself."""

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        if parts is not None:
            yield parts
            return
        provider = open_provider(settings, foundation.metrics, foundation.readiness)
        try:
            concurrency, at_once = settings.provider_concurrency, settings.capture == "automatic"
            async with at_work(foundation, provider, concurrency=concurrency, capture_at_once=at_once) as assembled:
                yield assembled
        finally:
            await provider.close()

    return Service(
        room="payment",
        api=api,
        assemble=assemble,
        handlers=handlers,
        linger_s=LINGER_S,
        jobs=jobs,
        emits=payment.EVENTS,
    )


@contextlib.asynccontextmanager
async def at_work(
    foundation: Foundation, provider: Provider, *, concurrency: int, capture_at_once: bool = True
) -> AsyncIterator[Parts]:
    """The parts over a provider. On the way in what our predecessor left is taken over, on the way out what is under way is
    ended and what is not is let go of.
    """
    parts = assemble_parts(foundation, provider, concurrency=concurrency, capture_at_once=capture_at_once)
    await usecases.take_over(parts)
    try:
        yield parts
    finally:
        await parts.charger.close()
        with contextlib.suppress(Unavailable):
            await usecases.take_over(parts)


def assemble_parts(foundation: Foundation, provider: Provider, *, concurrency: int, capture_at_once: bool) -> Parts:
    """Put the parts together. The charger and the group commits call use cases, which take the parts: hence the closures."""

    async def pursue(work: Work) -> None:
        await usecases.pursue(parts, work)

    async def record_charges(outcomes: Sequence[ChargeOutcome]) -> None:
        await usecases.record_charges(parts, outcomes)

    async def record_refunds(outcomes: Sequence[RefundOutcome]) -> None:
        await usecases.record_refunds(parts, outcomes)

    async def record_notices(heard: Sequence[Notice]) -> None:
        await usecases.record_notices(parts, heard)

    charger = Charger(pursue, concurrency=concurrency, clock=foundation.clock)
    parts = Parts(
        instance=foundation.instance,
        concurrency=concurrency,
        capture_at_once=capture_at_once,
        clock=foundation.clock,
        database=foundation.database,
        outbox=foundation.outbox,
        provider=provider,
        charger=charger,
        charge_outcomes=GroupCommit(
            record_charges, more_is_coming=lambda: charger.under_way > parts.charge_outcomes.waiting
        ),
        refund_outcomes=GroupCommit(record_refunds),
        # A webhook is acted upon a quarter of a second later at the earliest, so it may wait where there are many.
        notices=GroupCommit(record_notices, more_is_coming=lambda: charger.under_way > 0, linger_s=NOTICE_LINGER_S),
        measures=Measures(foundation.metrics),
    )
    return parts
