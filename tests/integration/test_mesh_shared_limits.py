"""Two gateways with an Envoy each and one Valkey: costly routes have one limit, and none of them waits for Valkey."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mesh_lab import Echo, Issuer, Lab, mesh_lab, until
from tests.integration.test_mesh_edge import assert_problem, get
from tradewind.stack.valkey import ValkeyEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

BURST = 6
ROUTES: tuple[dict[str, Any], ...] = (
    {"path": "/v1/auth/login", "methods": ["POST"], "rate": "auth"},
    {"path": "/v1/auth/change", "methods": ["POST"], "rate": "auth", "access": "signed-in"},
    {"path": "/v1/cheap", "methods": ["POST"], "rate": "default"},
    {"path": "/.well-known/jwks.json", "methods": ["GET"]},
)
SLOWLY = {"rate_auth_per_s": 1, "rate_auth_burst": BURST, "trusted_proxies": 1}
"""One proxy is trusted, so that a test may be many addresses."""


@pytest.fixture(scope="module")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ValkeyEngine]:
    async with ValkeyEngine(tmp_path_factory.mktemp("limits") / "valkey") as engine:
        yield engine


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
async def labs(
    tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyEngine, issuer: Issuer
) -> AsyncIterator[tuple[Lab, Lab]]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    async with (
        Echo("auth-1", key_set=issuer.key_set).running() as echo,
        mesh_lab(one, environ={"VALKEY_URL": valkey.url}, **SLOWLY) as first,
        mesh_lab(two, environ={"VALKEY_URL": valkey.url}, **SLOWLY) as second,
    ):
        for lab in (first, second):
            await lab.register("auth-1", echo.port, *ROUTES)
            await until(lambda lab=lab: state(lab, "shared"), "Valkey")
            await until(lambda lab=lab: signed_in(lab, issuer), "the keys")
        yield first, second


async def signed_in(lab: Lab, issuer: Issuer) -> bool:
    return (await post(lab, "/v1/auth/change", token=issuer.token(f"probe-{time.monotonic()}")))[0] == 200


async def state(lab: Lab, wanted: str) -> bool:
    return bool((await lab.status())["shared_limits"]["state"] == wanted)


async def post(lab: Lab, path: str, *, address: str = "", **options: Any) -> tuple[int, dict[str, str], Any]:
    headers = {"x-forwarded-for": address} if address else {}
    return await get(lab, path, method="POST", data=b"x", headers=headers, **options)


async def shares(labs: tuple[Lab, Lab], path: str, **options: Any) -> list[tuple[int, dict[str, str], Any]]:
    """Twice the burst, half of it at each gateway in turn."""
    return [await post(labs[number % 2], path, **options) for number in range(2 * BURST)]


async def test_two_gateways_have_one_limit(labs: tuple[Lab, Lab]) -> None:
    answers = await shares(labs, "/v1/auth/login", address="192.0.2.1")
    passed = [answer for answer in answers if answer[0] == 200]
    refused = [answer for answer in answers if answer[0] == 429]
    assert BURST <= len(passed) <= BURST + 1  # a second may pass meanwhile
    assert len(passed) + len(refused) == 2 * BURST
    assert passed[0][1]["ratelimit"] == f'"auth";r={BURST - 1};t=0'
    assert passed[1][1]["ratelimit"] == f'"auth";r={BURST - 2};t=0'
    assert passed[0][1]["ratelimit-policy"] == f'"auth";q={BURST};w={BURST}'
    assert_problem(refused[-1], 429, "rate-limited")
    assert refused[-1][1]["retry-after"] == "1"
    assert refused[-1][1]["ratelimit"] == '"auth";r=0;t=1'
    assert not [name for name in passed[0][1] if name.startswith(("x-tradewind", "x-ratelimit"))]
    assert not [name for name in passed[0][2]["headers"] if name.startswith(("x-tradewind", "x-envoy"))]


async def test_each_address_and_each_subject_has_a_limit_of_its_own(labs: tuple[Lab, Lab], issuer: Issuer) -> None:
    token = issuer.token("u-1")
    answers = await shares(labs, "/v1/auth/change", token=token, address="192.0.2.2")
    assert [answer[0] for answer in answers[:BURST]] == [200] * BURST
    assert answers[-1][0] == 429
    assert (await post(labs[0], "/v1/auth/change", token=issuer.token("u-2"), address="192.0.2.2"))[0] == 200
    assert (await post(labs[0], "/v1/auth/login", address="192.0.2.3"))[0] == 200


async def test_what_costs_little_is_not_asked_about(labs: tuple[Lab, Lab]) -> None:
    before = await checks(labs[0])
    assert (await post(labs[0], "/v1/cheap", address="192.0.2.4"))[0] == 200
    assert await checks(labs[0]) == before


async def checks(lab: Lab) -> float:
    async with lab.session.get(f"{lab.management}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("mesh_shared_limit_checks_total"))


async def metric(lab: Lab) -> str:
    async with lab.session.get(f"{lab.management}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(line.split()[-1] for line in lines if line.startswith("mesh_limits_shared"))


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_without_valkey_each_limits_for_itself_says_so_and_comes_back(
    labs: tuple[Lab, Lab], valkey: ValkeyEngine, how: str
) -> None:
    assert valkey.pid is not None
    addresses = iter(f"198.51.100.{'1' if how == 'stopped' else '2'}{number}" for number in range(10))
    if how == "stopped":
        os.kill(valkey.pid, signal.SIGSTOP)
    else:
        await valkey.stop()
    try:
        # Nobody waits longer than Envoy asks, and that is nothing beside what the route costs.
        longest_s = 0.0
        for lab in labs:
            address = next(addresses)
            answers = []
            for _ in range(BURST + 2):
                begun_s = time.monotonic()
                answers.append((await post(lab, "/v1/auth/login", address=address))[0])
                longest_s = max(longest_s, time.monotonic() - begun_s)
            assert answers[:BURST] == [200] * BURST  # each has a full bucket of its own
            assert answers[-1] == 429
            await until(lambda lab=lab: state(lab, "local"), "it to say so")
            assert (await lab.status())["shared_limits"]["reason"]
            await until(lambda lab=lab: metric_is(lab, "0.0"), "the metric")
            assert "limits are local: valkey does not answer" in lab.log
        assert longest_s < 5.0  # a hung question would last for ever
    finally:
        if how == "stopped":
            os.kill(valkey.pid, signal.SIGCONT)
        else:
            await valkey.start()
    for lab in labs:
        await until(lambda lab=lab: state(lab, "shared"), "it to be back")
        await until(lambda lab=lab: metric_is(lab, "1.0"), "the metric")
        assert "limits are shared again" in lab.log
    answers = await shares(labs, "/v1/auth/login", address=next(addresses))
    assert answers[-1][0] == 429


async def metric_is(lab: Lab, wanted: str) -> bool:
    return await metric(lab) == wanted


async def test_with_the_control_plane_stopped_envoy_goes_by_its_own_limit(labs: tuple[Lab, Lab]) -> None:
    lab = labs[1]
    assert lab.process is not None
    lab.process.send_signal(signal.SIGSTOP)
    try:
        answers = []
        while len(answers) < 10 * BURST and 429 not in answers:
            answers.append((await post(lab, "/v1/auth/login", address="203.0.113.1"))[0])
    finally:
        lab.process.send_signal(signal.SIGCONT)
    assert answers[:BURST] == [200] * BURST
    assert answers[-1] == 429


async def test_nobody_outside_says_who_he_is(labs: tuple[Lab, Lab]) -> None:
    """The header by which Envoy names the client to the control plane cannot be brought along."""
    spoofed = []
    for number in range(2 * BURST):
        headers = {"x-forwarded-for": "203.0.113.9", "x-tradewind-address": f"10.0.0.{number}"}
        answer = await get(labs[number % 2], "/v1/auth/login", method="POST", data=b"x", headers=headers)
        spoofed.append(answer[0])
    assert spoofed[-1] == 429


async def test_a_gateway_without_valkey_says_that_it_has_none(tmp_path: Path) -> None:
    async with mesh_lab(tmp_path) as lab:
        assert (await lab.status())["shared_limits"] == {"state": "off", "reason": "VALKEY_URL is not set"}
