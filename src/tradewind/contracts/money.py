"""Money on the wire and in every domain: an integer of minor units and a currency. Never a float."""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_AMOUNT_MINOR = 10**12

# In Python `$` also fits before a line feed at the end; `(?!\n)` says that it must not, and says nothing elsewhere.
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)", description="ISO 4217 code.", examples=["EUR"])]


class Money(msgspec.Struct, frozen=True, order=True):
    """`{"amount_minor": 1999, "currency": "EUR"}` is nineteen euros and ninety-nine cents."""

    amount_minor: Annotated[int, msgspec.Meta(ge=-MAX_AMOUNT_MINOR, le=MAX_AMOUNT_MINOR, description="Minor units.")]
    currency: Currency

    def __add__(self, other: Money) -> Money:
        return Money(self.amount_minor + self._same(other).amount_minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount_minor - self._same(other).amount_minor, self.currency)

    def __mul__(self, quantity: int) -> Money:
        return Money(self.amount_minor * quantity, self.currency)

    def _same(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise ValueError(f"cannot reckon {self.currency} with {other.currency}")
        return other
