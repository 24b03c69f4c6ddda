"""Take one safeguard at a time out of a copy of the source, run the tests that guard it, and see them turn red."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.safeguards import SAFEGUARDS, Safeguard

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tests", "docs", "pyproject.toml", "docker-compose.yml", "k8s", "infrastructure")
RUN_TIMEOUT_S = 600
WHOLE_TIMEOUT_S = 1_800
RED, GREEN = 1, 0
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a run without a safeguard came to. `red` are the tests that noticed; none: the safeguard does not count."""

    safeguard: Safeguard
    red: tuple[str, ...]
    took_s: float
    trouble: str = ""


@contextmanager
def copied_source() -> Iterator[Path]:
    """A copy of the source and its tests, deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="tradewind-mutation-") as folder:
        root = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, root / name)
        yield root


def run_tests(root: Path, tests: Sequence[str], *options: str, timeout_s: float) -> tuple[int, str]:
    """The exit code and the output of pytest over the copy below `root`, whose `src` goes before the installed one."""
    argv = [sys.executable, "-m", "pytest", "-q", "--no-header", *options, *tests]
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(  # a session of its own, so that a run that hangs is ended with all it started
        argv, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            return RED, f"{output}\nFAILED (the run hung for {timeout_s:.0f} s)"
    return process.returncode, output


def without(safeguard: Safeguard) -> Verdict:
    """Take `safeguard` out of a fresh copy and run its tests up to the first that fails."""
    started_s = time.monotonic()
    with copied_source() as root:
        for edit in safeguard.edits:
            edit.apply(root)
        code, output = run_tests(root, safeguard.tests, "-x", timeout_s=RUN_TIMEOUT_S)
    took_s = time.monotonic() - started_s
    red = tuple(dict.fromkeys(match[1] for match in _FAILED.finditer(output)))
    trouble = "" if code in (RED, GREEN) else f"pytest ended with {code}: {output.strip().splitlines()[-1:]}"
    return Verdict(safeguard=safeguard, red=red if code == RED else (), took_s=took_s, trouble=trouble)


def with_all(safeguards: Iterable[Safeguard]) -> str:
    """Run the tests of all `safeguards` on an unchanged copy; returns what is wrong, empty when they are green."""
    tests = sorted({test for safeguard in safeguards for test in safeguard.tests})
    with copied_source() as root:
        code, output = run_tests(root, tests, "-n", "2", "--dist", "loadfile", timeout_s=WHOLE_TIMEOUT_S)
    return "" if code == GREEN else output[-4_000:]


def select(names: Sequence[str]) -> tuple[Safeguard, ...]:
    """The safeguards of these names, or all.

    Raises:
        LookupError: there is none of that name.
    """
    known = {safeguard.name: safeguard for safeguard in SAFEGUARDS}
    if unknown := [name for name in names if name not in known]:
        raise LookupError(f"no such safeguard: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(known[name] for name in names) or SAFEGUARDS
