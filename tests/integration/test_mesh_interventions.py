"""What an operator does to traffic, through a real Envoy: faults, canaries, shadows, maintenance, and that all of it ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.mesh_lab import SECRET, Echo, Issuer, Lab, mesh_lab, until
from tradewind.chassis.ids import new_id
from tradewind.mesh.identity import room_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUTES: tuple[dict[str, Any], ...] = (
    {"path": "/v1/orders", "methods": ["GET"]},
    {"path": "/v1/orders", "methods": ["POST"], "idempotent": True},
    {"path": "/v1/orders/{id}", "methods": ["GET"], "access": "signed-in"},
    {"path": "/v1/orders/{id}/stream", "methods": ["GET"], "stream": True},
)
LONG_S = 600.0


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
async def old(issuer: Issuer) -> AsyncIterator[Echo]:
    async with Echo("old", key_set=issuer.key_set).running() as echo:
        yield echo


@pytest.fixture(scope="module")
async def new() -> AsyncIterator[Echo]:
    async with Echo("new").running() as echo:
        yield echo


@pytest.fixture(scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, old: Echo, new: Echo) -> AsyncIterator[Lab]:
    async with mesh_lab(tmp_path_factory.mktemp("mesh")) as lab:
        await _populate(lab, issuer, old, new)
        yield lab


async def _populate(lab: Lab, issuer: Issuer, old: Echo, new: Echo) -> None:
    await lab.register("auth-1", old.port, {"path": "/.well-known/jwks.json", "methods": ["GET"]})
    await lab.register("user-1", old.port, {"path": "/v1/users", "methods": ["GET"]})
    await lab.register("order-1", old.port, *ROUTES, version="1.0")
    await lab.register("order-2", new.port, *ROUTES, version="2.0")

    async def keys_arrived() -> bool:
        return (await ask(lab, "/v1/orders/7", token=issuer.token()))[0] == 200

    await until(keys_arrived, "the keys to reach Envoy")


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _nothing_runs_afterwards(lab: Lab, issuer: Issuer) -> AsyncIterator[None]:
    yield
    for each in (await control(lab, "GET", "", issuer))[1]["items"]:
        assert (await control(lab, "DELETE", f"/{each['id']}", issuer))[0] == 204


async def ask(
    lab: Lab, path: str, *, method: str = "GET", token: str = "", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    """One request through the edge."""
    sent = {**(headers or {}), **({"authorization": f"Bearer {token}"} if token else {})}
    async with lab.session.request(
        method, lab.edge + path, headers=sent, data=b"{}" if method == "POST" else None
    ) as answer:
        text = await answer.text()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.loads(text)


def operator(issuer: Issuer, *roles: str) -> str:
    """An administrator's token, as services take it."""
    return issuer.token(new_id(), roles=list(roles or ("admin",)), jti=new_id(), name="Grace Hopper")


async def control(
    lab: Lab, method: str, path: str, issuer: Issuer, body: Any = None, token: str | None = None
) -> tuple[int, Any]:
    """A request to the control port, as an administrator unless another `token` is given."""
    headers = {"authorization": f"Bearer {operator(issuer) if token is None else token}"}
    async with lab.session.request(
        method, f"{lab.control}/v1/interventions{path}", json=body, headers=headers
    ) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None


async def begin(lab: Lab, issuer: Issuer, kind: str, for_s: float = LONG_S, **what: Any) -> dict[str, Any]:
    """Begin an intervention, and return it."""
    status, answer = await control(lab, "POST", "", issuer, {"what": {"type": kind, **what}, "for_s": for_s})
    assert status == 201, answer
    begun: dict[str, Any] = answer
    return begun


async def served(lab: Lab, count: int, path: str = "/v1/orders", **options: Any) -> Counter[str]:
    """Who answers `count` requests."""
    answers = [await ask(lab, path, **options) for _ in range(count)]
    assert {status for status, _, _ in answers} == {200}
    return Counter(body["name"] for _, _, body in answers)


async def test_without_an_intervention_both_versions_serve_and_nothing_is_said(lab: Lab) -> None:
    assert (await served(lab, 40)).keys() == {"old", "new"}
    assert "x-tradewind-intervention" not in (await ask(lab, "/v1/orders"))[1]


async def test_a_fault_aborts_one_operation_and_no_other(lab: Lab, issuer: Issuer) -> None:
    begun = await begin(lab, issuer, "fault", operation="GET /v1/orders", abort_status=500)
    status, headers, body = await ask(lab, "/v1/orders")
    assert (status, body["code"], body["status"]) == (500, "injected-fault", 500)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-tradewind-intervention"] == "fault"
    for path, method, token in (("/v1/orders", "POST", ""), ("/v1/orders/7", "GET", issuer.token())):
        status, headers, _ = await ask(lab, path, method=method, token=token)
        assert (status, headers.get("x-tradewind-intervention")) == (200, None)
    assert (await control(lab, "DELETE", f"/{begun['id']}", issuer))[0] == 204
    assert (await ask(lab, "/v1/orders"))[0] == 200
    assert (await control(lab, "DELETE", f"/{begun['id']}", issuer))[1]["code"] == "intervention-unknown"


async def test_a_fault_delays_and_says_so(lab: Lab, issuer: Issuer) -> None:
    await begin(lab, issuer, "fault", operation="GET /v1/orders/{id}", delay_ms=300)
    started_s = time.monotonic()
    status, headers, _ = await ask(lab, "/v1/orders/7", token=issuer.token())
    assert (status, headers["x-tradewind-intervention"]) == (200, "fault")
    assert time.monotonic() - started_s >= 0.29  # its timer counts in whole milliseconds
    assert (await ask(lab, "/v1/orders/7"))[0] == 401, "a fault is no way around the token"


async def test_a_share_of_a_fault_spares_the_rest(lab: Lab, issuer: Issuer) -> None:
    await begin(lab, issuer, "fault", operation="GET /v1/orders", abort_status=503, percent=50)
    statuses = Counter([(await ask(lab, "/v1/orders"))[0] for _ in range(60)])
    assert statuses.keys() == {200, 503}


async def test_a_canary_by_weight_takes_its_share(lab: Lab, issuer: Issuer) -> None:
    begun = await begin(lab, issuer, "canary", service="order-service", version="2.0", percent=20)
    share = await served(lab, 200)
    assert 10 <= share["new"] <= 80, share  # 40 expected; beyond 5 standard deviations
    assert (await ask(lab, "/v1/orders"))[1]["x-tradewind-intervention"] == "canary"
    assert (await served(lab, 30, token=issuer.token(), path="/v1/orders/7")).keys() <= {"old", "new"}
    await begin(lab, issuer, "canary", service="order-service", version="2.0", percent=100)
    assert await served(lab, 20) == {"new": 20}
    items = (await control(lab, "GET", "", issuer))[1]["items"]
    assert [each["what"]["percent"] for each in items] == [100], "one canary at a time"
    assert items[0]["id"] != begun["id"]


async def test_a_canary_by_header_takes_those_who_ask(lab: Lab, issuer: Issuer) -> None:
    await begin(lab, issuer, "canary", service="order-service", version="2.0", header="x-canary", header_value="yes")
    assert await served(lab, 20) == {"old": 20}
    assert await served(lab, 20, headers={"x-canary": "yes"}) == {"new": 20}
    assert await served(lab, 20, headers={"x-canary": "no"}) == {"old": 20}
    assert await served(lab, 10, method="POST", headers={"x-canary": "yes", "idempotency-key": "k"}) == {"new": 10}


async def test_a_canary_without_an_instance_costs_nothing(lab: Lab, issuer: Issuer) -> None:
    await begin(lab, issuer, "canary", service="order-service", version="3.0", percent=100)
    assert (await served(lab, 40)).keys() == {"old", "new"}


async def test_a_shadow_gets_copies_of_reads_and_nobody_hears_it(
    lab: Lab, issuer: Issuer, old: Echo, new: Echo
) -> None:
    await begin(lab, issuer, "shadow", service="order-service", version="2.0")
    old.requests.clear()
    new.requests.clear()
    assert await served(lab, 20) == {"old": 20}
    assert await served(lab, 5, method="POST", headers={"idempotency-key": "k"}) == {"old": 5}
    await until(lambda: new.requests.count("GET /v1/orders") == 20, "the copies to arrive")
    assert set(new.requests) == {"GET /v1/orders"}, "a write was doubled"
    assert old.requests.count("GET /v1/orders") == 20


async def test_maintenance_of_one_service_lets_the_others_and_operators_pass(lab: Lab, issuer: Issuer) -> None:
    await begin(lab, issuer, "maintenance", service="order-service", retry_after_s=120)
    for token in ("", issuer.token(), "junk"):
        for path, method in (("/v1/orders", "GET"), ("/v1/orders", "POST"), ("/v1/orders/7", "GET")):
            status, headers, body = await ask(lab, path, method=method, token=token)
            assert (status, body["code"], headers["retry-after"]) == (503, "maintenance", "120")
            assert headers["x-tradewind-intervention"] == "maintenance"
    status, headers, _ = await ask(lab, "/v1/orders/7", token=operator(issuer))
    assert (status, headers["x-tradewind-intervention"]) == (200, "maintenance")
    assert (await ask(lab, "/v1/users"))[0] == 200
    assert (await ask(lab, "/nowhere"))[0] == 404


async def test_maintenance_of_everything(lab: Lab, issuer: Issuer) -> None:
    await begin(lab, issuer, "maintenance")
    for path in ("/v1/orders", "/v1/users"):
        assert (await ask(lab, path))[2]["code"] == "maintenance"
        assert (await ask(lab, path, token=operator(issuer)))[0] == 200
    async with lab.session.get(f"{lab.management}/livez") as answer:
        assert answer.status == 200


async def test_what_runs_is_visible_and_who_began_it_is_logged(lab: Lab, issuer: Issuer) -> None:
    begun = await begin(lab, issuer, "maintenance", service="user-service")
    assert [each["id"] for each in (await lab.status())["interventions"]] == [begun["id"]]
    assert begun["set_by"] == "Grace Hopper"

    async def counted() -> bool:
        async with lab.session.get(f"{lab.management}/metrics") as answer:
            return 'mesh_interventions{kind="maintenance"} 1.0' in await answer.text()

    await until(counted, "the metric")
    line = next(json.loads(text) for text in lab.log.splitlines() if begun["id"] in text)
    assert (line["event"], line["set_by"], line["target"]) == ("intervention begun", "Grace Hopper", "user-service")


async def test_it_ends_by_itself(lab: Lab, issuer: Issuer) -> None:
    await begin(lab, issuer, "maintenance", for_s=1.0)
    assert (await ask(lab, "/v1/orders"))[0] == 503

    async def over() -> bool:
        return (await ask(lab, "/v1/orders"))[0] == 200

    await until(over, "the maintenance to end by itself", patience_s=5)
    assert (await lab.status())["interventions"] == []


@pytest.mark.parametrize("what", [
    {"type": "fault", "operation": "GET /v1/nothing", "abort_status": 503},
    {"type": "fault", "operation": "GET /v1/orders"},
    {"type": "fault", "operation": "GET /v1/orders", "abort_status": 200},
    {"type": "fault", "operation": "GET /v1/orders", "delay_ms": 10, "percent": 0},
    {"type": "fault", "operation": "GET /v1/orders", "delay_ms": 3_600_000},
    {"type": "canary", "service": "order-service", "version": "2.0"},
    {"type": "canary", "service": "nobody-service", "version": "2.0", "percent": 10},
    {"type": "shadow", "service": "order-service", "version": "../../etc"},
    {"type": "maintenance", "service": "nobody-service"},
    {"type": "earthquake"},
])  # fmt: skip
async def test_what_would_do_nothing_or_harm_is_refused(lab: Lab, issuer: Issuer, what: dict[str, Any]) -> None:
    status, answer = await control(lab, "POST", "", issuer, {"what": what, "for_s": 60})
    assert status == 422, answer
    assert answer["code"] in ("invalid", "intervention-void")
    assert (await lab.status())["interventions"] == []


@pytest.mark.parametrize("for_s", [0, -1, 1e9, None])
async def test_nothing_is_for_ever(lab: Lab, issuer: Issuer, for_s: float | None) -> None:
    body = {"what": {"type": "maintenance"}, **({} if for_s is None else {"for_s": for_s})}
    assert (await control(lab, "POST", "", issuer, body))[0] == 422


async def test_only_an_administrator_may(lab: Lab, issuer: Issuer) -> None:
    body = {"what": {"type": "maintenance"}, "for_s": 60}
    stranger = Issuer().token(new_id(), roles=["admin"], jti=new_id())
    for token, expected in (
        ("", 401), ("junk", 401), (room_token(SECRET, "order"), 401), (stranger, 401),
        (operator(issuer, "customer"), 403), (operator(issuer, "support", "finance"), 403),
    ):  # fmt: skip
        for method, path in (("POST", ""), ("GET", ""), ("DELETE", "/x")):
            status, answer = await control(lab, method, path, issuer, body, token=token)
            assert status == expected, (token[:10], method, answer)
    assert (await ask(lab, "/v1/orders"))[0] == 200
    assert (await ask(lab, "/v1/interventions", token=operator(issuer)))[0] == 404, "never through the edge"


async def test_a_restart_of_the_gateway_knows_what_runs_and_when_it_ends(
    tmp_path: Path, issuer: Issuer, old: Echo, new: Echo
) -> None:
    async with mesh_lab(tmp_path) as lab:
        await _populate(lab, issuer, old, new)
        await begin(lab, issuer, "maintenance", service="user-service", for_s=60)
        short = await begin(lab, issuer, "fault", operation="GET /v1/orders", abort_status=503, for_s=3)
        await lab.kill()
        await lab.start()

        async def under_maintenance() -> bool:
            return (await ask(lab, "/v1/users"))[2].get("code") == "maintenance"

        await until(under_maintenance, "the maintenance to be known again")

        async def over() -> bool:
            status, headers, _ = await ask(lab, "/v1/orders")
            return status == 200 and "x-tradewind-intervention" not in headers

        await until(over, "the fault to end in its time", patience_s=10)
        assert time.time() >= short["expires_at"]

        await begin(lab, issuer, "fault", operation="GET /v1/orders", abort_status=503, for_s=0.5)
        await lab.kill()
        await asyncio.sleep(0.5)  # not a wait for something to happen: the time passes while nobody is there
        await lab.start()
        assert [each["what"]["type"] for each in (await lab.status())["interventions"]] == ["maintenance"]
        await until(over, "what ended while the gateway was away to be gone")
