"""Long-polls: who is sent what, and what is made of silence."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tradewind.mesh.xds import OFFER_AGAIN_S, Poll, Xds


class Time:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def snapshot(**clusters: int) -> Any:
    return {
        "clusters": {name: {"name": name} for name in clusters},
        "endpoints": {name: {"cluster_name": name, "port": port} for name, port in clusters.items()},
        "routes": {"edge": {"count": len(clusters)}},
    }


def ask(version: str = "", *names: str, node: str = "e1") -> Poll:
    return Poll(version_info=version, node=Poll.Node(node), resource_names=list(names))


async def taken(xds: Xds, kind: Any, version: str = "", *names: str) -> str:
    """What an Envoy at `version` is sent."""
    answer = await xds.poll(kind, ask(version, *names))
    assert answer is not None
    return str(json.loads(answer)["version_info"])


async def test_a_poll_is_answered_at_once_with_what_is_new_and_hangs_otherwise() -> None:
    xds = Xds()
    xds.publish(snapshot(a=1, b=2))
    answer = json.loads(await xds.poll("endpoints", ask("", "b")) or b"")
    assert answer["resources"] == [{"cluster_name": "b", "port": 2}]
    hanging = asyncio.create_task(xds.poll("endpoints", ask(answer["version_info"], "b")))
    await asyncio.sleep(0)
    xds.publish(snapshot(a=7, b=2))  # another's endpoints
    await asyncio.sleep(0)
    assert not hanging.done()
    xds.publish(snapshot(a=7, b=3))
    assert json.loads(await hanging or b"")["resources"] == [{"cluster_name": "b", "port": 3}]


async def test_the_same_content_is_the_same_version_after_a_restart() -> None:
    first, second = Xds(), Xds()
    for xds in (first, second):
        xds.publish(snapshot(a=1))
    assert first.version("clusters") == second.version("clusters")
    assert not first.publish(snapshot(a=1))
    assert first.publish(snapshot(a=2))
    assert first.version("clusters") == second.version("clusters")
    assert first.version("endpoints", ["a"]) != second.version("endpoints", ["a"])


async def test_a_poll_ends_empty_when_its_time_is_up() -> None:
    xds = Xds(hold_s=0.01)
    xds.publish(snapshot(a=1))
    assert await xds.poll("clusters", ask(xds.version("clusters"))) is None


async def test_a_version_that_is_not_taken_is_refused_and_not_sent_in_a_circle() -> None:
    xds = Xds(hold_s=0.02)
    xds.publish(snapshot(a=1))
    good = await taken(xds, "clusters")
    xds.publish(snapshot(a=1, bad=1))
    bad = await taken(xds, "clusters", good)
    assert await taken(xds, "clusters", good) == bad  # it may have been lost on the way
    again = asyncio.create_task(xds.poll("clusters", ask(good)))
    await asyncio.sleep(0.05)
    (standing,) = xds.standings()
    assert (standing.accepted, standing.refused, standing.current) == (good, bad, bad)
    assert not again.done()
    xds.note_refusal("clusters", "no such field")
    assert xds.standings()[0].reason == "no such field"
    xds.publish(snapshot(a=1, better=1))
    better = json.loads(await again or b"")["version_info"]
    assert await xds.poll("clusters", ask(better)) is None
    (standing,) = xds.standings()
    assert (standing.accepted, standing.refused, standing.reason) == (better, "", "")


async def test_a_refused_version_is_offered_again_after_a_while() -> None:
    time = Time()
    xds = Xds(monotonic_s=time)
    xds.publish(snapshot(bad=1))
    for _ in range(2):
        await taken(xds, "clusters")
    again = asyncio.create_task(xds.poll("clusters", ask()))
    await asyncio.sleep(0)
    time.now_s += OFFER_AGAIN_S
    xds._published.fire()
    assert await again is not None


async def test_waiting_for_acceptance() -> None:
    xds = Xds()
    xds.publish(snapshot(a=1))
    assert await xds.wait_until_accepted("a", 0.01)  # nobody is connected

    async def envoy() -> None:
        running = {"clusters": "", "endpoints": "", "routes": ""}

        async def keep(kind: Any, *names: str) -> None:
            while True:
                answer = await xds.poll(kind, ask(running[kind], *names))
                if answer is not None:
                    await asyncio.sleep(0.01)
                    running[kind] = json.loads(answer)["version_info"]

        await asyncio.gather(keep("clusters"), keep("endpoints", "a"), keep("routes", "edge"))

    task = asyncio.create_task(envoy())
    await asyncio.sleep(0.1)
    xds.publish(snapshot(a=2))
    version = xds.version("endpoints", ["a"])
    assert await xds.wait_until_accepted("a", 2.0)
    accepted = {standing.kind: standing.accepted for standing in xds.standings()}
    assert accepted["endpoints"] == version
    # A service whose endpoints this Envoy has not asked for yet is not in place.
    xds.publish(snapshot(a=2, new=1))
    assert not await xds.wait_until_accepted("new", 0.1)
    task.cancel()


async def test_an_envoy_that_is_gone_is_not_waited_for() -> None:
    time = Time()
    xds = Xds(monotonic_s=time)
    xds.publish(snapshot(a=1))
    await taken(xds, "clusters")
    assert not await xds.wait_until_accepted("a", 0.01)
    time.now_s += 5.0
    assert xds.nodes() == []
    assert await xds.wait_until_accepted("a", 0.01)


async def test_closing_answers_all_polls() -> None:
    xds = Xds()
    xds.publish(snapshot(a=1))
    hanging = asyncio.create_task(xds.poll("clusters", ask(xds.version("clusters"))))
    await asyncio.sleep(0)
    xds.close()
    assert await hanging is None
