"""Whom the room asks: a payment provider, one of several kinds behind one interface.

An answer is a `Charge` or a `Repayment`, a decline included. What is no answer is one of three exceptions, and which one
matters more than anything else here: `NotSent` and `OutcomeUnknown` (chassis), or `RequestRefused`, the provider's word
that it did nothing. A provider that does not answer is asked again, later, and never another one in its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from tradewind.services.payment.domain.charge import Charge, Listed, Repayment
from tradewind.services.payment.domain.work import ChargeWork, Notice, RefundWork


class RequestRefused(Exception):
    """The provider did nothing, and will not for this request. `code` is its reason."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says it holds for us in one currency."""

    currency: str
    captured_minor: int
    refunded_minor: int


def key_of_undo(charge_id: str, left_minor: int, before: Sequence[Repayment]) -> str:
    """The idempotency key of giving back all that is left of a charge; `before`: what was given back of it, or was to be.

    The amount is part of it: another sum left means that somebody refunded meanwhile. So are refunds that failed: a provider
    repeats to whoever repeats the key that the refund was accepted, also when it has failed since.
    """
    failed = sum(each.failed for each in before)
    return f"undo:{charge_id}:{left_minor}" + (f":{failed}" if failed else "")


class Provider(Protocol):
    """A payment provider. Every call may raise NotSent or OutcomeUnknown; repeating any of them does no harm.

    It takes money in one step (`charge` with `work.capture`) or in two (`charge` without, then `capture` or `void`).
    """

    name: str

    @property
    def answers(self) -> bool:
        """Whether it did so lately; while it does not, it is left alone but for a few questions."""
        ...

    async def charge(self, work: ChargeWork) -> Charge:
        """Take the money (`work.capture`) or have it held, at most once for the attempt. Raises RequestRefused."""
        ...

    async def find_charge(self, work: ChargeWork) -> Charge | None:
        """The charge that was made for an attempt, by its own id where we know that; None: it has none of it.

        Where the only question with a sure answer is the charge's request again, under its key, that is what is asked: so
        while the money is wanted this may take it, and once it is not, this may make sure that it never is.

        Raises:
            RequestRefused: it was refused, and nothing was made.
        """
        ...

    async def capture(self, charge: Charge, attempt_id: str) -> Charge:
        """Take what is held, all of it; the charge as it is then, also where it was let go of or has expired."""
        ...

    async def confirm(self, charge_id: str) -> Charge:
        """Go on after the customer's challenge; the charge as it is then."""
        ...

    async def void(self, charge_id: str) -> Charge:
        """Let go of a charge that took nothing, held or not; the charge as it is then, also where the money was taken."""
        ...

    async def undo(self, charge: Charge, attempt_id: str) -> Charge:
        """Give back, or let go of, all of a charge that is not the one we asked for; the charge as it is then."""
        ...

    async def refund(self, work: RefundWork) -> Repayment:
        """Give money back, at most once for the refund's key. Raises RequestRefused."""
        ...

    async def find_refund(self, work: RefundWork) -> Repayment | None:
        """What was given back for a refund."""
        ...

    async def holdings(self) -> Sequence[Holding]:
        """What it holds for us."""
        ...

    def list_charges(self, since: datetime) -> AsyncIterator[Listed]:
        """Every charge made since then, in any order, whatever became of it. Raises Unavailable, also in the middle."""
        ...

    def read_notice(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Notice:
        """Check the signature over the raw bytes, then read them.

        Raises:
            Invalid: 400 `signature-invalid`, also when it is older than 5 minutes; 400 `malformed-json`.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
