"""The parts payment-service is made of; `app.py` puts them together."""

from __future__ import annotations

from dataclasses import dataclass

from tradewind.chassis.clock import Clock
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.services.payment.charger import Charger
from tradewind.services.payment.domain.work import ChargeOutcome, Notice, RefundOutcome
from tradewind.services.payment.gather import GroupCommit
from tradewind.services.payment.measures import Measures
from tradewind.services.payment.providers import Provider


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`instance` is the name under which this process holds work; `concurrency` bounds its calls to the provider.

    `capture_at_once`: new payments are charged in one step, not authorized first.
    """

    instance: str
    concurrency: int
    capture_at_once: bool
    clock: Clock
    database: Database
    outbox: Outbox
    provider: Provider
    charger: Charger
    charge_outcomes: GroupCommit[ChargeOutcome]
    refund_outcomes: GroupCommit[RefundOutcome]
    notices: GroupCommit[Notice]
    measures: Measures
