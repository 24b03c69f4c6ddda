"""Settings of a running platform change without a restart, are refused where they do not fit, and go back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.customers import administrator, newcomer, product
from tests.e2e.edge import Edge
from tests.e2e.platforms import DEFAULT_RATES, new_platform, rows, until
from tests.e2e.test_limits import from_address
from tradewind.bench.platform import CommandFailed, Platform
from tradewind.traffic.client import Shop, Shopper, open_shop

ROOMS = ("analytics", "auth", "gateway", "notification", "order", "payment", "user")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with a file of settings beside its state folder."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "tradewind.toml").write_text(
        '[all]\nlog_level = "warning"\n[order]\nproduct_ttl_s = 2\n[payment]\ncapture = "manual"\n'
    )
    platform = new_platform(folder, {**DEFAULT_RATES, "ORDER_EXPIRY_BATCH": "33"})
    try:
        platform.up()
        yield platform
    finally:
        platform.down("--volumes")


@pytest.fixture(autouse=True)
def every_process_lives_on(platform: Platform) -> Iterator[None]:
    """Nothing here may restart anything."""
    before = {name: (row["pid"], row["restarts"]) for name, row in rows(platform).items()}
    yield
    assert {name: (row["pid"], row["restarts"]) for name, row in rows(platform).items()} == before


def told(platform: Platform, *words: str) -> Any:
    """What `tradewind config WORDS` says, as JSON."""
    return msgspec.json.decode(platform.command("config", *words, "--format", "json"))


def setting(platform: Platform, room: str, key: str) -> dict[str, Any]:
    (instance,) = told(platform, "show", room)["instances"]
    (row,) = (row for row in instance["settings"] if row["key"] == key)
    return dict(row)


def lines(platform: Platform, name: str, level: str) -> int:
    text = platform.state.log(name).read_text()
    return text.count(f'"level":"{level}"')


def test_each_setting_says_where_it_comes_from(platform: Platform) -> None:
    assert {name: setting(platform, "order", name)["origin"] for name in (
        "LOG_LEVEL", "ORDER_PRODUCT_TTL_S", "ORDER_EXPIRY_BATCH", "ORDER_PENDING_TTL_S",
    )} == {
        "LOG_LEVEL": "file", "ORDER_PRODUCT_TTL_S": "file", "ORDER_EXPIRY_BATCH": "environment", "ORDER_PENDING_TTL_S": "default",
    }  # fmt: skip
    assert setting(platform, "payment", "PAYMENT_CAPTURE")["value"] == "manual"
    everything = "".join(platform.command("config", "show", room, "--format", "json") for room in ROOMS)
    for name in ("postgres", "platform", "order_service", "sandbox_api_key"):
        assert platform.state.secrets().get(name) not in everything


async def test_the_log_level_changes_on_every_room_and_goes_back(platform: Platform) -> None:
    async with from_address(platform, "127.0.0.21") as edge:

        async def debug_lines_after_a_request() -> int:
            before = lines(platform, "order-1", "debug")
            assert (await edge.ask("GET", "/v1/products")).status == 200
            return lines(platform, "order-1", "debug") - before

        assert await debug_lines_after_a_request() == 0
        done = told(platform, "set", "LOG_LEVEL", "debug", "--reason", "a look")
        assert done["taken"] == [f"{room}-1" for room in ROOMS]
        assert await debug_lines_after_a_request() > 0
        told(platform, "unset", "LOG_LEVEL")
        assert await debug_lines_after_a_request() == 0
    change = told(platform, "history", "LOG_LEVEL")["changes"][-2]
    assert change["reason"] == "a look"
    assert change["edits"] == [{"key": "LOG_LEVEL", "old": None, "new": "debug"}]
    assert "@" in change["who"]


async def answers(edge: Edge, count: int) -> list[int]:
    return [(await edge.ask("GET", "/v1/products")).status for _ in range(count)]


async def test_a_rate_limit_holds_at_once_and_a_rollback_undoes_it(platform: Platform) -> None:
    version = told(platform, "history")["version"]
    told(platform, "set", "GATEWAY_RATE_ADDRESS_PER_S", "1")
    told(platform, "set", "GATEWAY_RATE_ADDRESS_BURST", "3")
    async with from_address(platform, "127.0.0.22") as edge:
        async with asyncio.timeout(10):  # until Envoy has the routes
            while (await answers(edge, 8)).count(429) < 3:
                await asyncio.sleep(0.1)
    told(platform, "rollback", str(version))
    assert setting(platform, "gateway", "GATEWAY_RATE_ADDRESS_BURST")["value"] == "200"
    async with from_address(platform, "127.0.0.23") as edge, asyncio.timeout(10):
        while 429 in await answers(edge, 20):
            await asyncio.sleep(0.1)
    assert [change["edits"][0]["new"] for change in told(platform, "history")["changes"][-3:]] == ["1", "3", None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "GATEWAY_RATE_AUTH_BURST", "0"), "a whole number, at least 1, at most 1000000000; for example 50"),
        (("set", "LOG_LEVEL", "loud"), "one of debug, info, warning, error"),
        (("set", "ORDER_PORT", "1"), "needs a restart"),
        (("set", "ORDER_DATABASE_URL", "postgresql://x"), "tradewind secrets set ORDER_DATABASE_URL"),
        (("set", "LOG_LEVL", "debug"), "Did you mean LOG_LEVEL"),
        (("set", "LOG_LEVEL", ""), "config unset LOG_LEVEL"),
        (("unset", "ORDER_EXPIRY_BATCH"), "is not set in the live store"),
        (("rollback", "99999"), "there is no version 99999"),
        (("show", "ordr"), "Did you mean order"),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(platform: Platform, words: tuple[str, ...], said: str) -> None:
    before = told(platform, "history"), told(platform, "show", "order"), told(platform, "show", "gateway")
    with pytest.raises(CommandFailed, match="exited with 1") as caught:
        platform.command("config", *words)
    assert said in str(caught.value)
    assert (told(platform, "history"), told(platform, "show", "order"), told(platform, "show", "gateway")) == before


def test_an_instance_that_cannot_take_it_keeps_the_old_one_and_says_so(platform: Platform) -> None:
    """Somebody wrote past the command: the document is whole, and its value is not."""
    told(platform, "set", "ORDER_EXPIRY_BATCH", "40")
    path: Path = platform.state.folder / "config" / "live.json"
    document = msgspec.json.decode(path.read_bytes())
    document["version"] += 1
    document["values"]["ORDER_EXPIRY_BATCH"] = "-1"
    scratch = path.with_suffix(".new")
    scratch.write_bytes(msgspec.json.encode(document))
    scratch.replace(path)

    def refused() -> bool:
        (instance,) = told(platform, "show", "order")["instances"]
        return "ORDER_EXPIRY_BATCH" in instance["refused"] and instance["version"] == document["version"] - 1

    until(refused, "order-1 to refuse", 10.0)
    assert setting(platform, "order", "ORDER_EXPIRY_BATCH")["value"] == "40"
    (user,) = told(platform, "show", "user")["instances"]
    assert (user["refused"], user["version"]) == ("", document["version"])  # not its setting
    told(platform, "set", "ORDER_EXPIRY_BATCH", "41")
    assert setting(platform, "order", "ORDER_EXPIRY_BATCH")["value"] == "41"


async def held_back(shop: Shop, shopper: Shopper, sku: str) -> str:
    """An order that does not settle. A round that was under way when the pause came may still take one or two."""
    for _ in range(5):
        order = await shop.place_order(shopper, [(sku, 1)], "pm_card_visa")
        try:
            await shop.settled(shopper.token, order["id"], timeout_s=3.0)
        except TimeoutError:
            return str(order["id"])
    raise AssertionError("every order settles")


async def test_a_paused_consumer_and_a_paused_relay_hold_events_back_and_lose_none(platform: Platform) -> None:
    async with open_shop(platform.url) as shop:
        ada, admin = await newcomer(shop), await administrator(shop)
        sku = await product(shop, admin)
        for key in ("PAYMENT_CONSUMER_PAUSED", "ORDER_RELAY_PAUSED"):
            told(platform, "set", key, "true")
            order_id = await held_back(shop, ada, sku)
            told(platform, "unset", key)
            assert (await shop.settled(ada.token, order_id))["status"] == "confirmed"
