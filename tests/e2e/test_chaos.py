"""The fault run itself, at its shortest: it comes out clean, and it says what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 300.0


def chaos(folder: Path, *options: str, environ: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any], str]:
    """Exit code, report, and what was told meanwhile."""
    done = subprocess.run(
        [sys.executable, "-m", "tradewind.cli", "chaos", "--format", "json", *options],
        env={**os.environ, "TMPDIR": str(folder), **(environ or {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.timeout(TIMEOUT_S)
def test_a_short_run_is_clean_and_leaves_nothing(tmp_path: Path) -> None:
    code, report, told = chaos(tmp_path, "--seed", "7", "--seconds", "12", "--rate", "15")
    assert (code, report["problems"]) == (0, []), told
    struck = [each for each in report["struck"] if not each.get("not_run")]
    assert len(struck) >= 3
    assert all(each["in_flight"] > 0 and each["recovery_s"] is not None for each in struck), struck
    assert report["acknowledged"]["order"] > 20
    assert report["replayed"] >= report["acknowledged"]["order"]
    assert list(tmp_path.iterdir()) == []
