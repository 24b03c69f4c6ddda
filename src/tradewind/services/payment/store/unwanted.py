"""Charges that nobody wants: what is booked of them, and what of it has gone back."""

from __future__ import annotations

from tradewind.chassis.postgres import Database
from tradewind.services.payment.domain.unwanted import Unwanted
from tradewind.services.payment.store import changes

_BOOK = """
    INSERT INTO ledger_transaction (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (cause_id, cause) DO NOTHING
"""
# What was booked, the other way round: the same sum, whoever gave back how much of it.
_BOOK_BACK = """
    INSERT INTO ledger_transaction (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
    SELECT 'mismatch_undone', cause_id, payment_id, credit_account, debit_account, amount_minor, currency
    FROM ledger_transaction WHERE cause_id = $1 AND cause = 'mismatch'
    ON CONFLICT (cause_id, cause) DO NOTHING
"""
_RESOLVE = "UPDATE discrepancy SET resolved_at = now() WHERE subject_id = $1 AND resolved_at IS NULL"


async def note(database: Database, unwanted: Unwanted) -> None:
    """Write down that the provider has it, before it is undone."""
    async with database.transaction() as tx:
        if booking := unwanted.booking:
            await tx.execute(
                _BOOK,
                booking.cause,
                booking.cause_id,
                booking.payment_id,
                booking.debit.code,
                booking.credit.code,
                booking.amount.amount_minor,
                booking.amount.currency,
            )
        await changes.note_discrepancies(tx, [unwanted.discrepancy])


async def note_undone(database: Database, unwanted: Unwanted) -> None:
    """Write down that nothing is left of it."""
    async with database.transaction() as tx:
        await tx.execute(_BOOK_BACK, unwanted.id)
        await tx.execute(_RESOLVE, unwanted.id)
