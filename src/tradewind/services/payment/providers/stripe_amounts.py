"""Amounts as Stripe writes them: mostly ISO 4217 minor units, with exceptions that have cost others a factor of a hundred.

Source: https://docs.stripe.com/currencies (zero-decimal, three-decimal and special-case currencies).
"""

from __future__ import annotations

from tradewind.contracts.money import Money

_HUNDREDFOLD = frozenset({"ISK"})
"""No minor unit in ISO 4217, but two decimals at Stripe, which must be zero."""

_HUNDREDTH = frozenset({"MGA"})
"""Two decimals in ISO 4217, none at Stripe."""

_TENS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
"""Three decimals, of which Stripe takes only a zero as the last."""

_DISPUTED = frozenset({"UGX"})
"""Stripe's own pages have called it zero-decimal and two-decimal; we do not find out with a customer's money."""


class NotExpressible(Exception):
    """Stripe cannot take this amount; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def to_stripe(money: Money) -> int:
    """The `amount` that stands for `money`.

    Raises:
        NotExpressible: `currency_unsupported`, or `amount_not_expressible` in the currency's steps.
    """
    amount_minor, currency = money.amount_minor, money.currency
    if currency in _DISPUTED:
        raise NotExpressible("currency_unsupported")
    if currency in _HUNDREDFOLD:
        return amount_minor * 100
    if currency in _HUNDREDTH:
        return _divided(amount_minor, 100)
    if currency in _TENS:
        return _divided(amount_minor, 10) * 10
    return amount_minor


def from_stripe(amount: int, currency: str) -> int:
    """Minor units of an amount that Stripe answered with; `currency` in capitals.

    Raises:
        NotExpressible: `amount_not_expressible`: it stands for no whole number of minor units.
    """
    if currency in _HUNDREDFOLD:
        return _divided(amount, 100)
    if currency in _HUNDREDTH:
        return amount * 100
    return amount


def _divided(amount: int, by: int) -> int:
    if amount % by:
        raise NotExpressible("amount_not_expressible")
    return amount // by
