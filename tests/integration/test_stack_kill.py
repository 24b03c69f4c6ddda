"""`kill -9` of the supervisor leaves nothing behind, and what a crash did leave is found and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.stand_in import all_gone, gone, state_in
from tradewind.stack.leftovers import end_leftovers, find_leftovers
from tradewind.stack.process import MARK
from tradewind.stack.state import ProcessRecord, State

SUPERVISES = """
import asyncio, sys
from pathlib import Path
from tests.stand_in import serving
from tradewind.stack.engines import PostgresEngine, ValkeyEngine
from tradewind.stack.state import State
from tradewind.stack.supervisor import Supervisor

async def main():
    state = State(Path(sys.argv[1]))
    units = [serving(state, "engine"), serving(state, "order", "engine", room="order")]
    async def yes():
        return True
    supervisor = Supervisor(state, units, serving=yes)
    supervisor.start()
    await supervisor.ready.wait()
    postgres = PostgresEngine(state.folder / "postgres", durable=False)
    valkey = ValkeyEngine(state.folder / "valkey")
    await postgres.start()
    await valkey.start()
    import psutil
    print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def state(tmp_path: Path) -> State:
    return state_in(tmp_path)


@pytest.mark.parametrize("postgres_user", ["", "nobody"])
def test_killing_the_supervisor_takes_everything_along(state: State, postgres_user: str) -> None:
    if postgres_user and os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    user = {"TRADEWIND_POSTGRES_USER": postgres_user} if postgres_user else {}
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISES, str(state.folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **user},
    )
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) >= 8  # two stand-ins, Valkey, PostgreSQL with its own children
    assert not any(gone(pid) for pid in pids)
    process.kill()
    process.wait()
    assert all_gone(pids) == []
    # A checkpoint would keep the folder locked for seconds on a busy disk, and whoever starts next would find it so.
    assert "received immediate shutdown request" in (state.folder / "postgres.log").read_text()
    state.remove()


def test_leftovers_are_found_by_their_mark_and_ended(state: State) -> None:
    environment = {**os.environ, MARK: str(state.folder)}
    marked = subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True)
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        assert [process.pid for process in find_leftovers(state)] == [marked.pid]
        assert end_leftovers(state) == 1
        assert marked.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
        assert end_leftovers(state) == 0
    finally:
        stranger.kill()
        stranger.wait()


def test_leftovers_are_found_by_what_was_written_down(state: State) -> None:
    child = subprocess.Popen(["sleep", "60"], env={}, start_new_session=True)
    reused = subprocess.Popen(["sleep", "60"], env={}, start_new_session=True)
    try:
        created = psutil.Process(child.pid).create_time()
        state.write_processes(
            [
                ProcessRecord(name="envoy", pid=child.pid, created=created),
                ProcessRecord(name="valkey", pid=reused.pid, created=created - 3600),
            ]
        )
        assert [process.pid for process in find_leftovers(state)] == [child.pid]
        end_leftovers(state)
        assert child.wait(5) == -signal.SIGKILL
        assert reused.poll() is None
    finally:
        reused.kill()
        reused.wait()
