"""The table of safeguards fits the source as it stands, so that a moved line is noticed at once and not at the next release."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from tests.mutation.run import ROOT, select
from tests.mutation.safeguards import SAFEGUARDS, SRC, Safeguard


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda safeguard: safeguard.name)
def test_every_safeguard_can_be_taken_out(safeguard: Safeguard, tmp_path: Path) -> None:
    for edit in safeguard.edits:
        copy = tmp_path / SRC / edit.file
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / SRC / edit.file, copy)
        before = copy.read_text(encoding="utf-8")
        edit.apply(tmp_path)
        after = copy.read_text(encoding="utf-8")
        assert after != before
        if copy.suffix == ".py":
            ast.parse(after)


def test_names_are_unique_and_the_tests_exist() -> None:
    assert len({safeguard.name for safeguard in SAFEGUARDS}) == len(SAFEGUARDS)
    for safeguard in SAFEGUARDS:
        assert safeguard.tests, safeguard.name
        for test in safeguard.tests:
            assert (ROOT / test.partition("::")[0]).is_file(), test


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(LookupError, match="no such safeguard: nonsense; there are inbox-insert"):
        select(["nonsense"])
