"""Sealing the books: what is booked goes into a chain of hashes, a little later and beside the write path."""

from __future__ import annotations

import asyncio

from tradewind.chassis.logs import get_logger
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import seals

BLOCK_TRANSACTIONS = 5_000
BLOCKS_A_RUN = 200
WAIT_S = 5.0
"""For transactions that may still add to what is to be sealed; those that last longer are waited for in the next run."""

POLL_S = 0.02
_log = get_logger(__name__)


async def seal_ledger(parts: Parts, *, block_transactions: int = BLOCK_TRANSACTIONS, wait_s: float = WAIT_S) -> None:
    """Seal what is booked and not sealed, in blocks of so many at most, unless another instance does.

    Each seal is logged: whoever keeps the logs elsewhere keeps the chain's head out of reach of who can change the database.
    """
    unsealed = await seals.find_unsealed(parts.database)
    if unsealed is None or not await _ended(parts, unsealed, wait_s):
        return
    for _ in range(BLOCKS_A_RUN):
        async with parts.database.transaction() as tx:
            sealed = await seals.seal(tx, unsealed.upto, block_transactions) if await seals.lock(tx) else None
        if sealed is None:
            return
        _log.info("ledger sealed", number=sealed.number, from_id=sealed.from_id, to_id=sealed.to_id, hash=sealed.hash)


async def _ended(parts: Parts, unsealed: seals.Unsealed, wait_s: float) -> bool:
    """Wait for whoever may still book something before what is to be sealed; False when that takes too long."""
    deadline_s = parts.clock.monotonic_s() + wait_s
    while unsealed.writers and await seals.are_writing(parts.database, unsealed.writers):
        if parts.clock.monotonic_s() > deadline_s:
            _log.warning("a transaction that books is open for long; nothing is sealed meanwhile", waited_s=wait_s)
            return False
        await asyncio.sleep(POLL_S)
    return True
