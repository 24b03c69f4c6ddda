"""A process may reach an engine by another address; everything else stays as it was."""

from __future__ import annotations

import pytest

from tradewind.stack.detours import Detours, detours_text, read_detours
from tradewind.stack.errors import StackError

WAYS = {"order/postgres": "127.0.0.1:4001", "payment/psp": "127.0.0.1:4002"}


def test_what_is_written_is_read() -> None:
    assert read_detours({"TRADEWIND_DETOURS": detours_text(WAYS)}) == Detours(WAYS)
    assert read_detours({}) == Detours()


def test_only_the_one_who_goes_the_way_is_sent_around() -> None:
    detours = Detours(WAYS)
    dsn = "postgresql://order_service:pass%40@127.0.0.1:5432/order_service?sslmode=disable"
    assert (
        detours.url("order", "postgres", dsn)
        == "postgresql://order_service:pass%40@127.0.0.1:4001/order_service?sslmode=disable"
    )
    assert detours.url("order", "bus", dsn) == dsn
    assert detours.url("user", "postgres", dsn) == dsn
    assert detours.url("payment", "psp", "http://127.0.0.1:9") == "http://127.0.0.1:4002"


@pytest.mark.parametrize(
    "text", ["order", "order/postgres", "order/disk=127.0.0.1:1", "/postgres=h:1", "order/bus=host"]
)
def test_what_is_no_detour_is_named(text: str) -> None:
    with pytest.raises(StackError, match="TRADEWIND_DETOURS") as raised:
        read_detours({"TRADEWIND_DETOURS": f"order/bus=127.0.0.1:1,{text}"})
    assert repr(text) in str(raised.value)
