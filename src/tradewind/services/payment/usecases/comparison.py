"""The provider's list of charges against ours: what nobody told us of, however long ago we had stopped asking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.logs import get_logger
from tradewind.services.payment.domain.charge import Listed
from tradewind.services.payment.domain.settlement import Discrepancy
from tradewind.services.payment.domain.unwanted import Unwanted
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import changes, comparison
from tradewind.services.payment.store.comparison import Begun, Difference
from tradewind.services.payment.usecases.unwanted import give_back_unwanted

EVERY_S = 3_600.0
PAUSE_S = 300.0
"""Before a comparison that did not come to its end is begun again."""

OVERLAP_S = 3_600.0
FIRST_S = 25 * 3_600.0
SUSPENSE_S = 7 * 86_400.0
"""Money that nobody wanted and that the provider does not give back is then a matter for people alone."""

BATCH = 500
_log = get_logger(__name__)


async def compare_charges(parts: Parts, *, every_s: float = EVERY_S, pause_s: float = PAUSE_S) -> None:
    """Go through the charges made since the last time, unless that was lately or another instance does.

    What moved on without our knowing is asked about again, and then ends as everything does. A charge that nobody wants, a second one or
    one of an attempt that failed, goes back by itself. What a person has to look at is written down, logged and counted.

    Raises:
        Unavailable: the provider does not answer; the next run goes on from where the last whole one ended.
    """
    name = parts.provider.name
    begun = await comparison.begin(
        parts.database,
        name,
        pause_s=pause_s,
        every_s=every_s,
        overlap_s=OVERLAP_S,
        first_s=FIRST_S,
        suspense_s=SUSPENSE_S,
    )
    if begun is None:
        return
    charges = 0
    batch: list[Listed] = []
    unanswered: list[Unavailable] = []
    async for listed in parts.provider.list_charges(begun.since):
        charges += 1
        batch.append(listed)
        if len(batch) == BATCH:
            unanswered += await _compare(parts, batch, begun)
            batch.clear()
    unanswered += await _compare(parts, batch, begun)
    if unanswered:
        # What is not known to have gone back is in the next list as well.
        raise unanswered[0]
    await comparison.end(parts.database, name, begun, charges)


async def _compare(parts: Parts, theirs: Sequence[Listed], begun: Begun) -> list[Unavailable]:
    """Compare some charges; returns why some of those that nobody wants may not have gone back."""
    unanswered: list[Unavailable] = []
    if not theirs:
        return unanswered
    different = await comparison.list_differences(parts.database, theirs, begun)
    unheard = [each.attempt_id for each in different if each.verdict == "unheard" and each.attempt_id]
    if unheard:
        await comparison.wake(parts.database, unheard)
        _log.warning("charges moved on and nobody told", attempts=unheard)
    found = [
        Discrepancy(subject_id=each.attempt_id, payment_id=each.payment_id, ours=each.ours, theirs=each.theirs)
        for each in different
        if each.verdict == "differs" and each.attempt_id and each.payment_id
    ]
    if found:
        await changes.note_discrepancies(parts.database, found)
    for unwanted in _unwanted(different, theirs):
        try:
            await give_back_unwanted(parts, unwanted)
        except Unavailable as exc:
            # One that gets no answer keeps no other from going back.
            unanswered.append(exc)
    for each in different:
        if each.verdict in ("stray", "differs"):
            parts.measures.wrong()
            _log.error(
                "the provider disagrees" if each.payment_id else "a charge that we did not ask for",
                charge_id=each.charge_id,
                payment_id=each.payment_id,
                ours=each.ours,
                theirs=each.theirs,
            )
    return unanswered


def _unwanted(different: Sequence[Difference], theirs: Sequence[Listed]) -> Iterator[Unwanted]:
    charges = {listed.charge.id: listed.charge for listed in theirs}
    for each in different:
        if each.verdict == "unwanted" and each.attempt_id and each.payment_id:
            yield Unwanted(
                charge=charges[each.charge_id],
                attempt_id=each.attempt_id,
                payment_id=each.payment_id,
                ours=each.ours,
                theirs=f"{each.theirs}, charge {each.charge_id}",
            )
