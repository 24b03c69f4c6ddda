"""Giving back what nobody wants: written down first, then undone at the provider, then written down as gone."""

from __future__ import annotations

from tradewind.chassis.logs import get_logger
from tradewind.services.payment.domain.charge import is_undone
from tradewind.services.payment.domain.unwanted import Unwanted
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import unwanted as store

_log = get_logger(__name__)


async def give_back_unwanted(parts: Parts, unwanted: Unwanted) -> None:
    """Undo a charge. A kill between any two steps leaves it to the next comparison, which undoes it under the same key.

    Raises:
        Unavailable: the provider does not answer, or the database.
    """
    charge = unwanted.charge
    if not is_undone(charge):
        parts.measures.wrong()
        _log.error(
            "a charge that nobody wants goes back",
            charge_id=charge.id,
            payment_id=unwanted.payment_id,
            ours=unwanted.ours,
            theirs=unwanted.theirs,
        )
        await store.note(parts.database, unwanted)
        charge = await parts.provider.undo(charge, unwanted.attempt_id)
    if is_undone(charge):
        await store.note_undone(parts.database, unwanted)
        return
    _log.warning("it is under way back, or the provider refused", charge_id=charge.id, payment_id=unwanted.payment_id)
