"""The clock door: what the room does by itself."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind.chassis.jobs import Job
from tradewind.services.payment import usecases
from tradewind.services.payment.parts import Parts

RECONCILE_EVERY_S = 1.0
FORGET_EVERY_S = 60.0
SEAL_EVERY_S = 10.0
COMPARE_EVERY_S = 60.0
"""How often it is looked whether the hourly comparison is due."""


def jobs(_parts: Parts) -> Sequence[Job[Parts]]:
    """Reconciliation, forgetting what the provider said long ago, sealing what is booked, comparing lists of charges."""
    return (
        Job("reconcile", RECONCILE_EVERY_S, usecases.take_up_due),
        Job("forget-notices", FORGET_EVERY_S, usecases.forget_notices),
        Job("seal-ledger", SEAL_EVERY_S, usecases.seal_ledger),
        Job("compare-charges", COMPARE_EVERY_S, usecases.compare_charges),
    )
