"""`python -m tradewind.stack.ENGINE fetch`, or `run [--folder DIR] [--port N]`: an engine for tests and trials, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from tradewind.stack.errors import StackError
from tradewind.stack.lone_engine import LoneEngine

E = TypeVar("E", bound=LoneEngine)


class Words(NamedTuple):
    """What the help says: the engine's name, as in its module, and what is fetched and run, with its article."""

    engine: str
    fetched: str
    run: str


def foreground(
    words: Words, fetch: Callable[[], str], make: Callable[[Path, int | None], E], announce: Callable[[E], str]
) -> int:
    """Exit code 0 after SIGINT or SIGTERM, 1 with a sentence when there is nothing to run.

    `fetch` returns where the engine is, `announce` the line to print once it answers.
    """
    program = f"python -m tradewind.stack.{words.engine}"
    parser = argparse.ArgumentParser(prog=program, description=f"{words.run.capitalize()} for tests and trials.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("fetch", help=f"fetch {words.fetched}, and print where it is kept")
    run = verbs.add_parser("run", help=f"start {words.run}, print its address, stop it at Ctrl-C")
    run.add_argument("--folder", type=Path, help="where its data stays; without it they are thrown away")
    run.add_argument("--port", type=int)
    told = parser.parse_args()
    try:
        if told.verb == "fetch":
            _say(fetch())
        elif told.folder:
            asyncio.run(_run(make(told.folder.absolute(), told.port), announce))
        else:
            with tempfile.TemporaryDirectory(prefix=f"{words.engine}-") as folder:
                asyncio.run(_run(make(Path(folder) / words.engine, told.port), announce))
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _run(engine: E, announce: Callable[[E], str]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with engine:
        _say(announce(engine))
        await ended.wait()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
