"""Every service is restarted, scaled and killed under steady traffic: how many requests fail? None may.

Open loop, no request is tried again by its sender, and a 429 is a failure. What is sent again is sent by the mesh, and Envoy's
own counters say how often. One request in twenty is an order with a key; afterwards the audit goes through the money.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from tradewind.bench.figures import Figure, Say, figure_line, table
from tradewind.bench.orders import audited, prepare, wait_until_none_is_pending
from tradewind.bench.platform import Platform
from tradewind.mesh.envoy_admin import EnvoyAdmin
from tradewind.traffic.client import Refused, Shop, Shopper, open_shop
from tradewind.traffic.operator import operator_token

ROOMS = ("auth", "user", "order", "payment", "notification", "analytics")
RATE_PER_S = 200.0
REQUESTS = 20_000
ORDER_SHARE = 0.05
RETURN_TIMEOUT_S = 60.0
RETURN_POLL_S = 0.2

Change = Callable[[], Awaitable[None]]


class Endpoint(msgspec.Struct):
    """What became of the requests to one endpoint. Latencies count from when a request was due, in seconds."""

    sent: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    latencies_s: list[float] = msgspec.field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        """The latency that `share` (0..1) of the successes stayed below."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000 if ordered else 0.0


class Outcome(msgspec.Struct):
    """All endpoints by name (`GET /v1/orders`), and what the mesh did for them."""

    endpoints: dict[str, Endpoint] = msgspec.field(default_factory=lambda: defaultdict(Endpoint))
    retries: int = 0
    retries_refused: int = 0
    changes: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def sent(self) -> int:
        """All requests."""
        return sum(each.sent for each in self.endpoints.values())

    @property
    def failures(self) -> Counter[str]:
        """What was answered instead of a success, with the endpoint."""
        return Counter(
            {f"{name}: {what}": count for name, each in self.endpoints.items() for what, count in each.failures.items()}
        )

    @property
    def limited(self) -> int:
        """Answers of 429; they are among the failures."""
        return sum(count for what, count in self.failures.items() if ": 429 " in what)


class Visits:
    """Requests of the kinds a shop sees, drawn at random from `seed`."""

    def __init__(self, shop: Shop, shoppers: Sequence[Shopper], skus: Sequence[str], admin: str, *, seed: int) -> None:
        self._shop = shop
        self._shoppers = shoppers
        self._skus = skus
        self._admin = admin
        self._random = random.Random(seed)

    def draw(self) -> tuple[str, Awaitable[object]]:
        """The endpoint and the request to await."""
        shopper, sku = self._random.choice(self._shoppers), self._random.choice(self._skus)
        if self._random.random() < ORDER_SHARE:
            return "POST /v1/orders", self._shop.place_order(shopper, [(sku, 1)], "pm_card_visa")
        endpoint, path, token = self._random.choice(
            (
                ("GET /v1/products", "/v1/products", None),
                ("GET /v1/products/{sku}", f"/v1/products/{sku}", None),
                ("GET /v1/orders", "/v1/orders", shopper.token),
                ("GET /v1/users/me", "/v1/users/me", shopper.token),
                ("GET /v1/auth/sessions", "/v1/auth/sessions", shopper.token),
                ("GET /v1/payments", "/v1/payments", shopper.token),
                ("GET /v1/notifications", "/v1/notifications", shopper.token),
                ("GET /v1/analytics/summary", "/v1/analytics/summary", self._admin),
            )
        )
        return endpoint, self._shop.call("GET", path, token=token)


def every_change(platform: Platform) -> list[tuple[str, Change]]:
    """More instances, a rolling restart of each service, one killed of two or more, fewer again."""

    def command(*words: str) -> tuple[str, Change]:
        async def change() -> None:
            await asyncio.to_thread(platform.command, *words)

        return " ".join(words), change

    async def kill() -> None:
        await _killed_and_back(platform, "order-2")

    restarts = [command("restart", room) for room in ROOMS]
    return [
        command("scale", "order=2"),
        *restarts,
        ("kill -9 order-2", kill),
        command("scale", "order=3"),
        command("scale", "order=1"),
    ]


async def under_traffic(
    platform: Platform, visits: Visits, changes: Sequence[tuple[str, Change]], *, requests: int, rate_per_s: float
) -> Outcome:
    """Send `requests` at least, and go through `changes` meanwhile: again and again, until the last request is sent.

    It lasts at least until each change was made once, since traffic that ends early proves nothing of what follows.
    """
    outcome = Outcome()
    changed_once = asyncio.Event()
    async with _counting_retries(platform, outcome):
        changing = asyncio.create_task(_change(changes, outcome, changed_once))
        try:
            await _send(visits, outcome, requests, rate_per_s, lambda: changed_once.is_set() or changing.done())
        finally:
            changing.cancel()
            failed = (await asyncio.gather(changing, return_exceptions=True))[0]
        if not isinstance(failed, asyncio.CancelledError) and failed is not None:
            raise failed
    return outcome


async def run(platform: Platform, say: Say, *, seed: int, requests: int = REQUESTS) -> list[Figure]:
    """The bench part: prints each endpoint, and returns the share that failed against none allowed."""
    admin = operator_token(platform.keys_file)
    async with open_shop(platform.url, connections=400) as shop:
        shoppers, skus = await prepare(shop, admin)
        visits = Visits(shop, shoppers, skus, admin, seed=seed)
        outcome = await under_traffic(
            platform, visits, every_change(platform), requests=requests, rate_per_s=RATE_PER_S
        )
        say_outcome(outcome, say)
        pending = await wait_until_none_is_pending(shop, operator_token(platform.keys_file))
    clean = await asyncio.to_thread(audited, platform, say) and not pending
    figures = [
        Figure(name="requests under restarts, scaling and a kill", value=outcome.sent, unit=""),
        Figure(name="of these failed, 429 included", value=outcome.failures.total(), unit="", aim=0),
        Figure(name="sent again by the mesh", value=outcome.retries, unit=""),
        Figure(name="the audit is clean afterwards (1: yes)", value=float(clean), unit="", aim=1, better="more"),
    ]
    for figure in figures:
        say(figure_line(figure))
    return figures


def say_outcome(outcome: Outcome, say: Say) -> None:
    """Print what was sent where, what failed, and what was changed meanwhile."""
    say(f"  changes: {', '.join(f'{name} x{count}' for name, count in outcome.changes.items())}")
    rows = [
        (
            name,
            str(each.sent),
            str(each.failures.total()),
            f"{each.percentile_ms(0.5):.0f}",
            f"{each.percentile_ms(0.99):.0f}",
        )
        for name, each in sorted(outcome.endpoints.items())
    ]
    for line in table(("endpoint", "sent", "failed", "p50 ms", "p99 ms"), rows):
        say(line)
    say(
        f"  retries by Envoy: {outcome.retries} (refused by the budget: {outcome.retries_refused}), 429: {outcome.limited}"
    )
    for what, count in outcome.failures.most_common(20):
        say(f"  failed: {count} x {what}")


async def _send(
    visits: Visits, outcome: Outcome, requests: int, rate_per_s: float, may_end: Callable[[], bool]
) -> None:
    started_s = time.perf_counter()
    under_way: set[asyncio.Task[None]] = set()
    number = 0
    while number < requests or not may_end():
        due_s = started_s + number / rate_per_s
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        name, request = visits.draw()
        task = asyncio.create_task(_one(outcome.endpoints[name], request, due_s))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
    await asyncio.gather(*under_way)


async def _one(endpoint: Endpoint, request: Awaitable[object], due_s: float) -> None:
    endpoint.sent += 1
    try:
        await request
    except Refused as refused:
        endpoint.failures[f"{refused.status} {refused.code}"] += 1
    except Exception as error:  # no answer at all
        endpoint.failures[type(error).__name__] += 1
    else:
        endpoint.latencies_s.append(time.perf_counter() - due_s)


async def _change(changes: Sequence[tuple[str, Change]], outcome: Outcome, changed_once: asyncio.Event) -> None:
    while True:
        for name, change in changes:
            await change()
            outcome.changes[name] += 1
        changed_once.set()


async def _killed_and_back(platform: Platform, name: str) -> None:
    """`kill -9`, and wait until the supervisor has it ready again."""
    pid = await _pid_when_ready(platform, name, other_than=0)
    os.kill(pid, signal.SIGKILL)
    await _pid_when_ready(platform, name, other_than=pid)


async def _pid_when_ready(platform: Platform, name: str, *, other_than: int) -> int:
    async with asyncio.timeout(RETURN_TIMEOUT_S):
        while True:
            for row in await asyncio.to_thread(platform.processes):
                if row["name"] == name and row["ready"] and row["pid"] != other_than:
                    return int(row["pid"])
            await asyncio.sleep(RETURN_POLL_S)


@contextlib.asynccontextmanager
async def _counting_retries(platform: Platform, outcome: Outcome) -> AsyncIterator[None]:
    """Note how often Envoy sent a request again while the block ran."""
    envoy = EnvoyAdmin(f"http://127.0.0.1:{platform.state.ports()['envoy']['admin_port']}")
    try:
        before = (await envoy.stats()).clusters()
        yield
        after = (await envoy.stats()).clusters()
    finally:
        await envoy.close()
    for cluster, figures in after.items():
        was = before.get(cluster, {})
        outcome.retries += figures.get("upstream_rq_retry", 0) - was.get("upstream_rq_retry", 0)
        outcome.retries_refused += figures.get("upstream_rq_retry_overflow", 0) - was.get(
            "upstream_rq_retry_overflow", 0
        )
