"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

from tradewind import reference_mesh, reference_saga
from tradewind.reference import FOLDER, pages

REPOSITORY = Path(__file__).parents[2]


def test_the_committed_pages_are_what_the_code_writes() -> None:
    committed = {name: (Path(__file__).parents[2] / FOLDER / name).read_text(encoding="utf-8") for name in pages()}
    stale = [name for name, text in pages().items() if committed[name] != text]
    assert stale == [], "run `make docs`"


def test_the_saga_is_explained_with_the_tables_that_the_code_runs_by() -> None:
    text = (REPOSITORY / reference_saga.PAGE).read_text(encoding="utf-8")
    assert text.count("written by `make docs`") == 3
    assert reference_saga.page(text) == text, "run `make docs`"
    assert (REPOSITORY / reference_saga.PICTURE).read_text(encoding="utf-8") == reference_saga.picture()


def test_the_mesh_is_explained_with_the_policy_table_in_force() -> None:
    text = (REPOSITORY / reference_mesh.PAGE).read_text(encoding="utf-8")
    assert text.count("policy_") == 3
    assert reference_mesh.page(text) == text, "run `make docs`"
