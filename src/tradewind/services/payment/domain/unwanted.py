"""A charge that nobody wants: a second one for an attempt that has its own, or one of an attempt that failed.

It is found in the provider's list. What was taken stands in the books against `suspense` until it has gone back, under an id that
is made from the charge's own: so it is booked once, whoever finds it and however often.
"""

from __future__ import annotations

import uuid

import msgspec

from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import Charge
from tradewind.services.payment.domain.ledger import Booking, Cause, book
from tradewind.services.payment.domain.settlement import Discrepancy

_CHARGES = uuid.UUID("6f0d3f6e-2f0b-5d8e-9a53-5f1c5a0e7c11")


def id_of_unwanted(charge_id: str) -> str:
    """What a charge that nobody wants is booked under."""
    return str(uuid.uuid5(_CHARGES, charge_id))


class Unwanted(msgspec.Struct, frozen=True, kw_only=True):
    """A charge that nobody wants, made for the attempt of a payment. `ours`: what we have instead, for people."""

    charge: Charge
    attempt_id: str
    payment_id: str
    ours: str
    theirs: str

    @property
    def id(self) -> str:
        """What it is booked under."""
        return id_of_unwanted(self.charge.id)

    @property
    def booking(self) -> Booking | None:
        """The money that the provider has of it; None: it is only held."""
        left_minor = self.charge.captured_minor - self.charge.refunded_minor
        left = Money(left_minor, self.charge.amount.currency)
        return book(Cause.MISMATCH, self.id, self.payment_id, left)

    @property
    def discrepancy(self) -> Discrepancy:
        """What people see of it until it has gone back."""
        return Discrepancy(subject_id=self.id, payment_id=self.payment_id, ours=self.ours, theirs=self.theirs)
