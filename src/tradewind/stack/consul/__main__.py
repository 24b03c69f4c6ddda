"""`python -m tradewind.stack.consul fetch`, or `run [--folder DIR] [--port N]`: an agent in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tradewind.stack.consul.agent import ConsulEngine
from tradewind.stack.consul.binary import fetch
from tradewind.stack.errors import StackError


def main() -> int:
    """Exit code 0 after SIGINT or SIGTERM, 1 with a sentence when there is nothing to run."""
    parser = argparse.ArgumentParser(prog="python -m tradewind.stack.consul", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("fetch", help="fetch the agent's program, and print where it is")
    run = verbs.add_parser("run", help="start an agent, print its address, stop it at Ctrl-C")
    run.add_argument("--folder", type=Path, help="where its data stays; without it they are thrown away")
    run.add_argument("--port", type=int)
    told = parser.parse_args()
    try:
        if told.verb == "fetch":
            _say(fetch())
        elif told.folder:
            asyncio.run(_run(told.folder, told.port))
        else:
            with tempfile.TemporaryDirectory(prefix="consul-") as folder:
                asyncio.run(_run(Path(folder) / "consul", told.port))
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _run(folder: Path, port: int | None) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with ConsulEngine(folder.absolute(), port=port) as consul:
        _say(f"CONSUL_HTTP_ADDR={consul.address}")
        await ended.wait()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
