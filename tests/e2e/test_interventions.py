"""Interventions as an operator makes them: by the command line, on the whole platform, seen by customers and by `ps`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.e2e.platforms import until
from tradewind.bench.platform import CommandFailed, Platform
from tradewind.traffic.client import Refused, Shop


@pytest.fixture(autouse=True)
def _nothing_is_left(platform: Platform) -> Iterator[None]:
    yield
    platform.command("mesh", "end", "all")


async def test_a_fault_is_felt_shown_and_ended(platform: Platform, shop: Shop) -> None:
    said = platform.command("mesh", "fault", "GET /v1/products", "--abort", "503", "--for", "5m", "--reason", "drill")
    with pytest.raises(Refused, match="injected-fault"):
        await shop.call("GET", "/v1/products")
    listed = json.loads(platform.command("mesh", "interventions", "--format", "json"))["items"]
    assert [(each["what"]["operation"], each["set_by"], each["reason"]) for each in listed] == [
        ("GET /v1/products", "operator", "drill")
    ]
    assert "drill" in platform.command("mesh", "interventions")
    shown = platform.command("ps")
    assert "! fault on GET /v1/products: 100 % answered 503 (by operator, ends in 4m" in shown
    assert [each["id"] for each in json.loads(platform.command("ps", "--format", "json"))["interventions"]] == [
        listed[0]["id"]
    ]
    platform.command(*said.splitlines()[-1].removeprefix("end it with: tradewind ").split())
    assert (await shop.call("GET", "/v1/products")).status == 200
    assert "! fault" not in platform.command("ps")
    assert "nothing is done to traffic" in platform.command("mesh", "interventions")
    assert '"intervention begun"' in platform.command("logs", "gateway", "--format", "json")


async def test_maintenance_lets_administrators_pass_and_ends_by_itself(
    platform: Platform, shop: Shop, admin: str
) -> None:
    platform.command("mesh", "maintenance", "--for", "4s", "--retry-after", "2m")
    with pytest.raises(Refused, match="maintenance"):
        await shop.call("GET", "/v1/products")
    answer = await shop.call("GET", "/v1/products", token=admin)
    assert (answer.status, answer.headers["x-tradewind-intervention"]) == (200, "maintenance")

    await asyncio.to_thread(until, lambda: "! maintenance" not in platform.command("ps"), "its time to be over")
    async with asyncio.timeout(10):
        while True:
            try:
                assert "x-tradewind-intervention" not in (await shop.call("GET", "/v1/products")).headers
            except (Refused, AssertionError):
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("fault", "GET /v1/nowhere", "--abort", "503"), "no service serves GET /v1/nowhere"),
        (("fault", "GET /v1/products"), "a fault needs a delay"),
        (("fault", "products", "--abort", "503"), "operation"),
        (("canary", "order", "--version", "2"), "a canary needs a percentage"),
        (("shadow", "nobody", "--version", "2"), "there is no nobody-service"),
        (("maintenance", "--for", "3 days"), "no duration"),
        (("maintenance", "--for", "48h"), "--for"),
        (("end", "nothing"), "intervention-unknown"),
    ],
)
def test_a_mistake_is_named(platform: Platform, words: tuple[str, ...], says: str) -> None:
    with pytest.raises(CommandFailed, match=says):
        platform.command("mesh", *words)
