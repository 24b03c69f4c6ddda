"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

from tradewind.reference import FOLDER, pages


def test_the_committed_pages_are_what_the_code_writes() -> None:
    committed = {name: (Path(__file__).parents[2] / FOLDER / name).read_text(encoding="utf-8") for name in pages()}
    stale = [name for name, text in pages().items() if committed[name] != text]
    assert stale == [], "run `make docs`"
