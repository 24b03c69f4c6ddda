"""The supervisor with small stand-in processes: order, restarts, rolling, scaling, stopping."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.stand_in import gone, scripted, serving, state_in, until
from tradewind.stack.errors import StackError
from tradewind.stack.instance import Instance
from tradewind.stack.state import State
from tradewind.stack.supervisor import Supervisor
from tradewind.stack.unit import Unit


@pytest.fixture
def state(tmp_path: Path) -> State:
    return state_in(tmp_path)


@asynccontextmanager
async def supervised(
    state: State, *units: Unit, tell: Callable[[dict[str, Any]], None] = lambda _: None, wait: bool = True
) -> AsyncIterator[Supervisor]:
    async def always() -> bool:
        return True

    supervisor = Supervisor(state, units, serving=always, tell=tell)
    supervisor.start()
    try:
        if wait:
            async with asyncio.timeout(15):
                await supervisor.ready.wait()
        yield supervisor
    finally:
        await supervisor.stop()


def instance(supervisor: Supervisor, name: str) -> Instance:
    return next(each for each in supervisor.instances if each.slot == name)


def said(state: State, name: str) -> list[str]:
    return state.log(name).read_text().split("\n")


async def test_units_start_when_what_they_need_is_ready(state: State) -> None:
    events: list[dict[str, Any]] = []
    engine, room = serving(state, "engine"), serving(state, "order", "engine", room="order")
    async with supervised(state, room, engine, tell=events.append) as supervisor:
        assert [row["name"] for row in supervisor.table()] == ["order-1", "engine"]
        assert all(row["ready"] and row["state"] == "running" and not row["waits_for"] for row in supervisor.table())
        # Weighing reads the page maps of all processes; probes would time out behind it, and everything be called unready.
        assert not any("memory_mb" in row for row in supervisor.table())
        assert state.ports() == {"order-1": 1, "engine": 1}
    changes = [(event["name"], event["state"]) for event in events if event["event"] == "process"]
    assert changes.index(("engine", "running")) < changes.index(("order-1", "starting"))


async def test_what_is_not_ready_says_what_it_waits_for(state: State) -> None:
    never = scripted(state, "engine", "import time; time.sleep(60)")
    async with supervised(state, never, serving(state, "order", "engine", room="order"), wait=False) as supervisor:
        await until(lambda: instance(supervisor, "order-1").state == "waiting")
        assert instance(supervisor, "order-1").waits_for == ["engine"]
        assert not supervisor.ready.is_set()


async def test_a_gated_process_starts_early_and_serves_in_its_turn(state: State) -> None:
    open_sesame = state.folder / "open"
    engine = scripted(
        state,
        "engine",
        f"""
import os, sys, time
from pathlib import Path
while not Path({str(open_sesame)!r}).exists():
    time.sleep(0.01)
Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(60)
""",
    )
    room = serving(state, "order", "engine", room="order", gated=True)
    async with supervised(state, engine, room, wait=False) as supervisor:
        await until(lambda: instance(supervisor, "order-1").pid is not None)
        early = instance(supervisor, "order-1").pid
        assert instance(supervisor, "order-1").state == "waiting"
        assert said(state, "order-1") == [""]
        open_sesame.touch()
        await until(supervisor.ready.is_set)
        assert instance(supervisor, "order-1").pid == early


async def test_a_killed_process_is_back_at_once(state: State) -> None:
    async with supervised(state, serving(state, "order", room="order")) as supervisor:
        first = instance(supervisor, "order-1").pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        began = asyncio.get_running_loop().time()
        await until(lambda: instance(supervisor, "order-1").pid not in (None, first))
        await until(instance(supervisor, "order-1").ready.is_set)
        assert asyncio.get_running_loop().time() - began < 1.0
        assert instance(supervisor, "order-1").restarts == 1


async def test_a_process_that_cannot_start_is_reported_with_its_last_words(state: State) -> None:
    events: list[dict[str, Any]] = []
    broken = scripted(
        state, "order", "raise SystemExit('ORDER_DATABASE_URL: missing. Where the data is.')", room="order"
    )
    async with supervised(state, broken, tell=events.append, wait=False):
        await until(lambda: any(event["event"] == "failing" for event in events))
    failing = next(event for event in events if event["event"] == "failing")
    assert failing["name"] == "order-1"
    assert "ORDER_DATABASE_URL: missing" in failing["tail"]
    assert failing["fix"] == "set the variable named above in the environment of `tradewind up`"


async def test_a_program_that_does_not_exist_is_reported_too(state: State) -> None:
    unit = serving(state, "engine")
    launch = unit.launch("engine")
    missing = Unit(name="engine", launch=lambda _: type(launch)(argv=("/no/such/program",), env={}))
    async with supervised(state, missing, wait=False) as supervisor:
        await until(lambda: instance(supervisor, "engine").failures >= 2)
    assert "/no/such/program" in state.log("engine").read_text()


async def test_a_task_runs_once(state: State) -> None:
    task = scripted(state, "prepare", "print('prepared')", once=True)
    async with supervised(state, task, serving(state, "order", "prepare", room="order")) as supervisor:
        assert [row["name"] for row in supervisor.table()] == ["order-1"]
    assert said(state, "prepare") == ["prepared", ""]


async def test_restarting_a_room_starts_the_new_before_the_old_drains(state: State) -> None:
    events: list[dict[str, Any]] = []
    async with supervised(state, serving(state, "order", room="order", drain_s=0.3), tell=events.append) as supervisor:
        old = instance(supervisor, "order-1").pid
        events.clear()
        assert await supervisor.restart("order") == ["order-1"]
        new = instance(supervisor, "order-1")
        assert new.pid != old
        assert old is not None
        assert gone(old)
        assert [row["name"] for row in supervisor.table()] == ["order-1"]
        assert new.identity == "order-1-2"
    changes = [(event["name"], event["state"]) for event in events if event["event"] == "process"]
    assert changes.index(("order-1-2", "running")) < changes.index(("order-1", "draining"))
    assert said(state, "order-1").count("drained") == 2


async def test_a_replacement_that_fails_leaves_the_old_one_serving(state: State) -> None:
    unit = serving(state, "order", room="order")
    broken = scripted(state, "order", "raise SystemExit('broken build')", room="order")
    started: list[str] = []

    def launch(identity: str) -> Any:
        started.append(identity)
        return (unit if identity == "order-1" else broken).launch(identity)

    async with supervised(state, Unit(name="order", room="order", launch=launch, overlaps=True)) as supervisor:
        before = instance(supervisor, "order-1").pid
        with pytest.raises(StackError, match="broken build"):
            await supervisor.restart("order-1")
        assert instance(supervisor, "order-1").pid == before
        assert [row["name"] for row in supervisor.table()] == ["order-1"]
        assert instance(supervisor, "order-1").ready.is_set()


async def test_restarting_an_engine_stops_and_starts_it(state: State) -> None:
    async with supervised(state, serving(state, "engine")) as supervisor:
        before = instance(supervisor, "engine").pid
        await supervisor.restart("engine")
        after = instance(supervisor, "engine")
        assert after.pid != before
        assert after.identity == "engine"
        assert after.ready.is_set()


async def test_a_gated_process_that_runs_once_is_loaded_before_the_old_one_stops(state: State) -> None:
    gateway = replace(serving(state, "gateway", room="gateway", gated=True, drain_s=0.3), overlaps=False)
    events: list[dict[str, Any]] = []
    async with supervised(state, gateway, tell=events.append) as supervisor:
        old = instance(supervisor, "gateway-1")
        restarting = asyncio.ensure_future(supervisor.restart("gateway"))
        await until(lambda: old.state == "draining")
        new = next(each for each in supervisor.instances if each is not old)
        assert new.loaded.is_set()
        assert new.pid is not None
        assert [row["name"] for row in supervisor.table()] == ["gateway-1"]
        await restarting
        assert [row["pid"] for row in supervisor.table()] == [new.pid]
        assert new.identity == "gateway-1"


async def test_a_successor_tells_its_predecessor_to_leave(state: State) -> None:
    unit = serving(state, "proxy")
    succeeded: list[tuple[str, str]] = []

    def succeed(identity: str, predecessor: str) -> Any:
        succeeded.append((identity, predecessor))
        return unit.launch(identity)

    def tell(event: dict[str, Any]) -> None:
        if event.get("name") == "proxy" and event["state"] == "draining" and len(supervisor.table()) > 1:
            os.kill(event["pid"], signal.SIGTERM)  # what the successor does, once it serves

    async with supervised(state, replace(unit, overlaps=True, succeed=succeed), tell=tell) as supervisor:
        old = instance(supervisor, "proxy").pid
        await supervisor.restart("proxy")
        new = instance(supervisor, "proxy")
        assert succeeded == [("proxy-2", "proxy")]
        assert new.pid != old
        assert said(state, "proxy").count("drained") == 1
        os.kill(new.pid or 0, signal.SIGKILL)
        await until(lambda: new.restarts == 1 and new.ready.is_set())
        assert succeeded == [("proxy-2", "proxy")]  # there was nobody to take over from any more


async def test_scaling(state: State) -> None:
    async with supervised(state, serving(state, "order", room="order")) as supervisor:
        first = instance(supervisor, "order-1").pid
        await supervisor.scale("order", 3)
        assert [row["name"] for row in supervisor.table()] == ["order-1", "order-2", "order-3"]
        assert all(row["ready"] for row in supervisor.table())
        await supervisor.scale("order", 1)
        assert [(row["name"], row["pid"]) for row in supervisor.table()] == [("order-1", first)]
        with pytest.raises(StackError, match="no room 'envoy'"):
            await supervisor.scale("envoy", 2)
        with pytest.raises(StackError, match="out of range"):
            await supervisor.scale("order", 17)
        with pytest.raises(StackError, match="nothing here is called 'orders'"):
            await supervisor.restart("orders")


async def test_stopping_goes_in_reverse_and_leaves_nothing(state: State) -> None:
    events: list[dict[str, Any]] = []
    units = [serving(state, "engine"), serving(state, "order", "engine", room="order", drain_s=0.2)]
    async with supervised(state, *units, tell=events.append) as supervisor:
        pids = [row["pid"] for row in supervisor.table()]
    assert all(gone(pid) for pid in pids)
    changes = [(event["name"], event["state"]) for event in events if event["event"] == "process"]
    assert changes.index(("order-1", "stopped")) < changes.index(("engine", "draining"))


async def test_a_second_request_to_stop_hurries(state: State) -> None:
    stubborn = scripted(
        state,
        "order",
        "import os,signal,sys; from pathlib import Path; signal.signal(15, signal.SIG_IGN);"
        "Path(sys.argv[1]).write_text(str(os.getpid()));\nwhile True: signal.pause()",
        room="order",
    )
    supervisor = Supervisor(state, [stubborn], serving=lambda: asyncio.sleep(0, result=True))
    supervisor.start()
    async with asyncio.timeout(10):
        await supervisor.ready.wait()
        hurry = asyncio.Event()
        stopping = asyncio.ensure_future(supervisor.stop(hurry))
        await until(lambda: instance(supervisor, "order-1").state == "draining")
        hurry.set()
        began = asyncio.get_running_loop().time()
        await stopping
        assert asyncio.get_running_loop().time() - began < 2.0
