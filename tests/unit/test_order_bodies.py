"""What an order's body may say: a handle of a payment method is one, and no card's number."""

from __future__ import annotations

import msgspec
import pytest

from tradewind.services.order.api.bodies import Handle


@pytest.mark.parametrize(
    "handle", ["pm_card_visa", "tok_4000056655665556", "4000", "seti_1:2-3", "12345678901", "1" * 20]
)
def test_a_handle_is_taken(handle: str) -> None:
    assert msgspec.convert(handle, Handle) == handle


@pytest.mark.parametrize(
    "number", ["4000056655665556", "4000-0566-5566-5556", "4000.0566.5566.5556", "378282246310005", "1" * 12, "1" * 19]
)
def test_a_card_s_number_is_refused_and_not_repeated(number: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(number, Handle)
    assert number not in str(refused.value)
