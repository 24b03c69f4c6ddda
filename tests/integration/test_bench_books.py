"""The benchmark's ways to keep books still book: it uses payment-service's own tables and the chassis' own inbox."""

from __future__ import annotations

import pytest

from tradewind.bench import books


async def test_every_way_books_and_every_event_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "WRITERS", 2)
    monkeypatch.setattr(books, "BOOKINGS_EACH", 5)
    monkeypatch.setattr(books, "EVENTS", 30)
    said: list[str] = []
    figures = await books.measure(said.append)
    assert [figure.name for figure in figures] == ["bookings in our ledger", "effects, 100 a transaction"]
    rows = [line.rsplit(maxsplit=3) for line in said if line.startswith(("  entries", "  a row"))]
    assert [float(row[1].replace(",", "")) > 0 and float(row[3].replace(",", "")) > 0 for row in rows] == [True] * 3
