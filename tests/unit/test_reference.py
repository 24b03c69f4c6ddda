"""The reference pages say what the code says."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

import msgspec

from tradewind import reference_mesh, reference_saga
from tradewind.reference import FOLDER

REPOSITORY = Path(__file__).parents[2]


def test_the_committed_pages_are_what_the_code_writes() -> None:
    # In a process of its own, as `make docs` writes them: whatever other tests did to this one does not count.
    code = "import json, sys; from tradewind.reference import pages; json.dump(dict(pages()), sys.stdout)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    stale = []
    for name, text in msgspec.json.decode(done.stdout, type=dict[str, str]).items():
        committed = (REPOSITORY / FOLDER / name).read_text(encoding="utf-8")
        stale += difflib.unified_diff(committed.splitlines(), text.splitlines(), name, "the code", lineterm="")
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
