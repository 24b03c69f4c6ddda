"""One run: a platform of its own, customers, faults, and then the question whether everything is as it was told."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from tradewind.audit.look import open_looks
from tradewind.audit.run import audit
from tradewind.audit.sources import Sources
from tradewind.bench.platform import CommandFailed, Platform
from tradewind.chaos.comparison import disagreements, look_up
from tradewind.chaos.customers import Crowd, Traffic
from tradewind.chaos.disk import SmallDisk
from tradewind.chaos.ground import Ground
from tradewind.chaos.journal import Entry, Journal, read_journal
from tradewind.chaos.links import BROKER, Links
from tradewind.chaos.plan import Options, make_plan
from tradewind.chaos.replay import replay
from tradewind.chaos.report import Report
from tradewind.chaos.sender import Sender
from tradewind.chaos.settling import settle
from tradewind.chaos.waves import Waves
from tradewind.chassis.errors import Unavailable
from tradewind.stack.detours import VARIABLE as DETOURS
from tradewind.stack.detours import detours_text
from tradewind.stack.kafka import KafkaEngine
from tradewind.stack.leftovers import end_leftovers, find_leftovers
from tradewind.stack.rooms import all_rooms, rooms_with_database
from tradewind.traffic.client import open_shop
from tradewind.traffic.operator import operator_token

ARTICLES = 12
STOCK = 100_000
CUSTOMERS = 12
CALM_S = 3.0
AUDIT_WAIT_S = 60.0
CONNECTIONS = 200
ADMIN_TOKEN_AGE_S = 240.0

Say = Callable[[str], None]
SourcesOf = Callable[[Mapping[str, str]], Sources]


async def run(options: Options, folder: Path, sources_of: SourcesOf, say: Say) -> Report:
    """Run `options` in `folder`, which is empty; it is deleted afterwards, unless the run was not clean or is to be kept.

    `sources_of` says where a platform's books are, given the environment its commands get.
    """
    report = Report(seed=options.seed, seconds=options.seconds, rate_per_s=options.rate_per_s)
    async with _ground(options, folder, report) as ground:
        say(f"a platform of its own is up in {ground.folder}")
        with Journal(folder / "journal.jsonl") as journal:
            async with open_shop(ground.links.edge_url, connections=CONNECTIONS) as shop:
                sender = Sender(shop)
                crowd = Crowd(sender, journal, seed=options.seed, admin=_Operator(ground.platform.keys_file))
                await _with_traffic(options, ground, sender, crowd, report, say)
                await _prove(ground, crowd, journal.path, sources_of(ground.platform.environ), report, say)
    return report


@contextlib.asynccontextmanager
async def _ground(options: Options, folder: Path, report: Report) -> AsyncIterator[Ground]:
    """The platform with its proxies; afterwards no process is left, and that is held against it."""
    state = folder / "state"
    disk = SmallDisk(state / "postgres")
    if "disk" in options.kinds:
        disk.mount()
    (state / "clock").mkdir(mode=0o700, parents=True)
    platform = Platform(state)
    links = Links(platform.state, ("127.0.0.1", platform.port), all_rooms(), kafka=options.kafka)
    await links.open()
    broker = KafkaEngine(folder / "kafka", proxy_port=links[BROKER].port) if options.kafka else None
    if broker is not None:
        links.broker = ("127.0.0.1", broker.behind_proxy_port)
    platform.environ |= {
        DETOURS: detours_text(links.detours()),
        "PSP_SANDBOX_PUBLIC_URL": links.bank_url,
        "PSP_SANDBOX_SEED": str(options.seed),
        **{f"{room.upper()}_CLOCK_SKEW_FILE": str(state / "clock" / room) for room in rooms_with_database()},
    }
    scale = [word for room, count in options.scale.items() for word in ("--scale", f"{room}={count}")]
    onto = ("--kafka", broker.proxied_bootstrap) if broker is not None else ()
    ground = Ground(platform, links, (*scale, *onto), options.seed, broker)
    try:
        if broker is not None:
            await broker.start()
        await ground.up()
        yield ground
    except BaseException as error:
        report.problems.append(f"the run broke off: {type(error).__name__}: {error}")
        raise
    finally:
        await asyncio.to_thread(_take_down, platform, report)
        if broker is not None:
            await broker.stop()
        await links.close()
        kept = options.keep or not report.clean
        disk.unmount(keep=kept)
        if kept:
            report.folder = str(folder)
        else:
            await asyncio.to_thread(shutil.rmtree, folder)


def _take_down(platform: Platform, report: Report) -> None:
    try:
        platform.down()
    except CommandFailed as error:
        report.problems.append(f"it did not go down: {error}")
    if left := find_leftovers(platform.state):
        report.problems.append(f"processes were left behind: {', '.join(str(each.pid) for each in left)}")
        end_leftovers(platform.state)


async def _with_traffic(
    options: Options, ground: Ground, sender: Sender, crowd: Crowd, report: Report, say: Say
) -> None:
    await crowd.open_catalogue(ARTICLES, STOCK)
    await asyncio.gather(*(crowd.register() for _ in range(CUSTOMERS)))
    traffic = Traffic(crowd, options.rate_per_s)
    traffic.start()
    try:
        await Waves(ground, sender, report, say).run(make_plan(options))
        await asyncio.sleep(CALM_S)
    finally:
        await traffic.stop()
    report.requests, report.gave_up = sender.requests, sender.gave_up
    report.tried_again, report.refused = dict(sender.tried_again), dict(crowd.refused)
    report.acknowledged = dict(crowd.acknowledged)
    report.problems += [f"answered {count} times: {what}" for what, count in sender.wrong.items()]
    report.problems += [f"{count} customers met {what}" for what, count in traffic.failed.items()]


async def _prove(ground: Ground, crowd: Crowd, journal: Path, sources: Sources, report: Report, say: Say) -> None:
    report.settled_s, left = await settle(sources, crowd.orders.keys, crowd.meet_challenges)
    say(f"settled after {report.settled_s:.1f} s{'' if not left else ', with something left'}")
    report.problems += [f"not settled after {report.settled_s:.0f} s: {sentence}" for sentence in left]
    await _audit(sources, report, say)
    entries = await asyncio.to_thread(read_journal, journal)
    await _compare(entries, sources, ground.platform.state.mail, report)
    async with open_shop(ground.platform.url) as door:
        report.replayed, otherwise = await replay(entries, door, crowd.token_of)
    report.problems += [f"replay: {sentence}" for sentence in otherwise]
    say(f"journal compared: {len(entries)} writes, {report.replayed} keys asked again")


async def _audit(sources: Sources, report: Report, say: Say) -> None:
    try:
        found = await audit(sources, wait_s=AUDIT_WAIT_S)
    except Unavailable as problem:
        report.problems.append(f"the audit cannot look: {problem.detail}")
        return
    say(f"audited in {found.took_s:.1f} s after waiting {found.waited_s:.1f} s: {len(found.violations)} violations")
    report.problems += [f"{v.invariant} {v.subject}: {v.detail}; {v.next_step}" for v in found.violations]
    report.problems += [f"not checked: {sentence}" for sentence in found.not_seen if not found.complete]
    report.problems += [f"not settled: {sentence}" for sentence in (*found.waits_for, *found.left_out)]


async def _compare(entries: list[Entry], sources: Sources, mail: Path, report: Report) -> None:
    assert sources.provider is not None
    try:
        charges = await sources.provider.charges()
        async with open_looks(sources.databases) as looks:
            report.problems += disagreements(entries, await look_up(looks, charges, mail))
    except Unavailable as problem:
        report.problems.append(f"the journal cannot be compared: {problem.detail}")


class _Operator:
    """An administrator's token, made anew before it ends."""

    def __init__(self, keys_file: Path) -> None:
        self._keys_file = keys_file
        self._token = ""
        self._since_s = 0.0

    def __call__(self) -> str:
        now_s = time.monotonic()
        if not self._token or now_s - self._since_s > ADMIN_TOKEN_AGE_S:
            self._token, self._since_s = operator_token(self._keys_file), now_s
        return self._token
