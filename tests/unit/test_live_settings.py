"""The live layer of one process: taken as a whole or not at all; and the document it comes from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import pytest

from tradewind.chassis.config_page import config_page
from tradewind.chassis.live import Live
from tradewind.chassis.live_document import (
    MAX_DOCUMENT_BYTES,
    MAX_REASON_CHARS,
    MAX_VALUE_CHARS,
    MOST_CHANGES,
    Document,
    DocumentFull,
    NothingChanges,
    VersionUnknown,
)
from tradewind.chassis.settings import Count, Secret, ServiceSettings, Setting, SettingsError, describe
from tradewind.services.order.settings import OrderSettings
from tradewind.stack.room_settings import settings_class
from tradewind.stack.rooms import all_rooms

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class PairSettings(ServiceSettings, frozen=True, kw_only=True):
    """Two values that must fit together."""

    PREFIX = "PAIR_"
    least: Annotated[Count, Setting("Least.", live=True)] = 1
    most: Annotated[Count, Setting("Most.", live=True)] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least > self.most:
            raise SettingsError(["PAIR_LEAST, PAIR_MOST: the least is above the most"])


def order() -> Live[OrderSettings]:
    return Live(OrderSettings(database_url=Secret("postgresql://x/y"), expiry_batch=50))


def document(version: int, **values: str) -> Document:
    return Document(version=version, values=values)


def test_a_document_is_taken_and_taken_back() -> None:
    live = order()
    before = live.value
    assert live.take(document(1, ORDER_EXPIRY_BATCH="7", LOG_LEVEL="debug", PAYMENT_OTHER="x"))
    assert (live.value.expiry_batch, live.value.log_level, live.version) == (7, "debug", 1)
    assert before.expiry_batch == 50  # who holds the old one holds all of it
    assert live.take(document(2))
    assert live.value == before


@pytest.mark.parametrize("values", [{"ORDER_EXPIRY_BATCH": "0"}, {"ORDER_EXPIRY_BATCH": "many"}])
def test_one_value_that_does_not_fit_refuses_the_whole_document(values: dict[str, str]) -> None:
    live = order()
    live.take(document(1, LOG_LEVEL="error"))
    assert not live.take(document(2, LOG_LEVEL="debug", **values))
    assert (live.value.log_level, live.value.expiry_batch, live.version) == ("error", 50, 1)
    page = config_page(live, "order-1")
    assert page.version == 1
    assert page.refused.startswith("version 2: ORDER_EXPIRY_BATCH")
    assert live.take(document(3, LOG_LEVEL="debug"))
    assert config_page(live, "order-1").refused == ""


def test_rules_across_fields_hold_before_anything_is_taken() -> None:
    live = Live(PairSettings())
    assert not live.take(document(1, PAIR_LEAST="11"))
    assert "the least is above the most" in live.refused
    assert live.take(document(2, PAIR_LEAST="11", PAIR_MOST="12"))
    assert (live.value.least, live.value.most) == (11, 12)


def test_what_is_read_at_the_start_never_changes() -> None:
    live = order()
    assert live.take(document(1, ORDER_PORT="7", ORDER_DATABASE_URL="postgresql://elsewhere/"))
    assert live.value == live.start


def test_a_listener_that_fails_refuses_the_change_and_the_others_are_undone() -> None:
    live = order()
    heard: list[tuple[int, int]] = []
    live.on_change(lambda old, new: heard.append((old.expiry_batch, new.expiry_batch)))

    def fail(_old: OrderSettings, new: OrderSettings) -> None:
        if new.expiry_batch == 7:
            raise OSError("no")

    live.on_change(fail)
    assert not live.take(document(1, ORDER_EXPIRY_BATCH="7"))
    assert live.value.expiry_batch == 50
    assert heard == [(50, 7), (7, 50)]
    assert live.refused == "version 1: no"


@pytest.mark.parametrize("room", all_rooms())
def test_no_secret_is_live(room: str) -> None:
    assert [row.env for row in describe(settings_class(room)) if row.live and row.secret] == []


def test_history_leads_back() -> None:
    one = Document().changed({"A": "1", "B": "1"}, at=NOON, who="ada", reason="first")
    two = one.changed({"A": "2"}, at=NOON, who="grace", reason="")
    three = two.changed({"B": None, "C": "3"}, at=NOON, who="ada", reason="")
    assert three.values == {"A": "2", "C": "3"}
    assert [three.values_at(version) for version in range(4)] == [{}, one.values, two.values, three.values]
    assert [(edit.key, edit.old, edit.new) for edit in three.changes[-1].edits] == [("B", "1", None), ("C", None, "3")]
    for version in (-1, 4):
        with pytest.raises(VersionUnknown):
            three.values_at(version)
    with pytest.raises(NothingChanges):
        three.changed({"A": "2"}, at=NOON, who="ada", reason="")


def test_history_is_bounded_and_says_how_far_back_it_goes() -> None:
    found = Document()
    for number in range(MOST_CHANGES + 5):
        found = found.changed({"A": str(number)}, at=NOON, who="ada", reason="r" * 10_000)
    assert len(found.changes) == MOST_CHANGES
    assert len(found.changes[-1].reason) == MAX_REASON_CHARS
    assert found.values_at(5) == {"A": "4"}
    with pytest.raises(VersionUnknown) as caught:
        found.values_at(4)
    assert caught.value.args == (5, MOST_CHANGES + 5)
    assert len(msgspec.json.encode(found)) < MAX_DOCUMENT_BYTES
    with pytest.raises(DocumentFull):
        found.changed({"A": "x" * (MAX_VALUE_CHARS + 1)}, at=NOON, who="ada", reason="")
