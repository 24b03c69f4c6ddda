"""The journal of a fault run remembers the last word on each write."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from tradewind.chaos.journal import Entry, Journal, read_journal

ASKED = Entry(act="order", key="k1", subject="ada", path="/v1/orders", body={"lines": []})


async def test_the_last_word_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    answered = msgspec.structs.replace(ASKED, status=201, answer={"id": "o1"})
    other = msgspec.structs.replace(ASKED, subject="grace")
    with Journal(path) as journal:
        await journal.asked(ASKED)
        await journal.asked(other)
        await journal.answered(answered)
    assert read_journal(path) == [answered, other]
    assert [entry.acknowledged for entry in read_journal(path)] == [True, False]


async def test_an_answer_is_in_the_file_when_the_customer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        await journal.answered(msgspec.structs.replace(ASKED, status=409, answer={"code": "out-of-stock"}))
        assert json.loads(path.read_text())["status"] == 409
    assert not read_journal(path)[0].acknowledged
