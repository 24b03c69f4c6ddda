"""A multiplied history is as true as the one that real services left: the audit finds nothing in it, and still all that is planted."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.integration.audit_lab import BUS, ROOMS, Lab
from tests.integration.audit_lab import lab as lab  # noqa: PLC0414 - a fixture
from tests.integration.test_audit_violations import PLANTS, Plant
from tests.sandbox_process import API_KEY, Sandbox
from tradewind.audit.invariants import INVARIANTS
from tradewind.audit.provider import SandboxCharges
from tradewind.bench.growth import Growth, multiply, multiply_charges

GROWTH = Growth(copies=5, days=0.0005)
"""Spread over less than a minute: what waits in the story has not waited too long in its copies."""

FIRST_OF_EACH = [next(planted for planted in PLANTS if planted.invariant == invariant) for invariant in INVARIANTS]


@pytest.fixture(scope="module")
def grown(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab, its databases and its provider's books multiplied."""
    with asyncio.Runner() as runner:
        copies = lab.copies(*ROOMS, BUS)
        urls = runner.run(copies.__aenter__())
        try:
            state = tmp_path_factory.mktemp("grown") / "psp"
            shutil.copytree(lab.sandbox_state, state)
            assert multiply_charges(state / "psp.sqlite3", GROWTH) > 0
            for url in urls.values():
                assert runner.run(multiply(lab._as_admin(_name(url)), GROWTH)) > 0
            grown = Lab(lab.admin_url, urls, state, lab.story)
            grown.charges = runner.run(_charges(state))
            yield grown
        finally:
            runner.run(copies.__aexit__(None, None, None))


def _name(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


async def _charges(state: Path) -> tuple[object, ...]:
    sandbox = Sandbox(state)
    try:
        await sandbox.start()
        return tuple(await SandboxCharges(sandbox.url, API_KEY).charges())
    finally:
        await sandbox.close()


async def test_a_multiplied_history_is_clean(lab: Lab, grown: Lab) -> None:
    report = await grown.audit()
    assert (report.violations, report.complete, report.settled) == ([], True, True)
    assert len(grown.charges) == len(lab.charges) * (GROWTH.copies + 1)


@pytest.mark.parametrize(
    ("room", "table"),
    [("order", "orders"), ("payment", "ledger_transaction"), ("notification", "mail"), ("analytics", "money_fact"), ("bus", "log"), ("order", "inbox")],
)  # fmt: skip
async def test_every_story_is_there_as_often_as_asked(lab: Lab, grown: Lab, room: str, table: str) -> None:
    counts = []
    for urls in (lab.urls, grown.urls):
        connection = await asyncpg.connect(urls[room])
        counts.append(await connection.fetchval(f"SELECT count(*) FROM {table}"))
        await connection.close()
    assert counts[0] > 0
    assert counts[1] == counts[0] * (GROWTH.copies + 1)


@pytest.mark.parametrize("planted", FIRST_OF_EACH, ids=lambda planted: planted.invariant)
async def test_what_is_planted_among_many_is_named_and_nothing_else(grown: Lab, planted: Plant) -> None:
    async with grown.copies(*planted.statements) as urls:
        for room, statements in planted.statements.items():
            await grown.spoil(urls[room], *statements)
        report = await grown.audit(**urls)
    assert {violation.invariant for violation in report.violations} == {planted.invariant}, report.violations
    subject = planted.subject.format(**grown.story)
    assert any(violation.subject.startswith(subject) for violation in report.violations), report.violations
