"""The typed HTTP layer: what fits reaches the handler, what does not is a problem with a stable code."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest

from tests.asgi import Response, call
from tradewind.chassis.errors import Conflict, Unauthenticated, Unavailable
from tradewind.chassis.http import (
    OPTIONAL,
    PUBLIC,
    SIGNED_IN,
    Api,
    Call,
    Id,
    IfMatch,
    Page,
    PageQuery,
    Reply,
    etag,
    roles,
)
from tradewind.chassis.http.app import Doorman, build_asgi
from tradewind.chassis.http.openapi import openapi_document
from tradewind.chassis.identity import Caller
from tradewind.chassis.metrics import Metrics

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
Quantity = Annotated[int, msgspec.Meta(ge=1, le=10)]


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    quantity: Quantity


class Basket(msgspec.Struct, forbid_unknown_fields=True):
    lines: list[Line]
    note: str | None = None


class Position(msgspec.Struct, array_like=True):
    at: datetime
    id: str


class Thing(msgspec.Struct):
    id: str
    seen: Any


class Verifier:
    async def verify(self, token: str) -> Caller:
        if token == "bad":
            raise Unauthenticated("token-invalid")
        if token == "slow":
            await asyncio.sleep(0.005)
        return Caller(subject=token, email="", name="", roles=frozenset(token.split("+")), session_id="", token=token)


api = Api("thing", tag="Things")


@api.post("/v1/baskets", access=PUBLIC, status=201)
async def make_basket(call: Call[str], body: Basket) -> Reply[Thing]:
    """Make a basket.

    It holds lines.
    """
    return Reply(Thing("1", [line.sku for line in body.lines]), location="/v1/baskets/1", etag=etag(1))


@api.get("/v1/baskets", access=PUBLIC)
async def list_baskets(
    call: Call[str], page: PageQuery, from_: datetime | None = None, least: Quantity | None = None, open: bool = True
) -> Page[Thing]:
    """List baskets."""
    after = page.after(Position)
    rows = [Thing(str(n), after.id if after else None) for n in range(page.limit + 1)]
    return page.page(rows, lambda row: row, lambda last: Position(datetime(2026, 1, 1, tzinfo=UTC), last.id))


@api.get("/v1/baskets/{id}", access=SIGNED_IN)
async def get_basket(call: Call[str], id: Id, deep: bool = False) -> Thing:
    """Get a basket."""
    return Thing(id, [call.caller.subject, deep, call.parts])


@api.patch("/v1/baskets/{id}", access=roles("support"))
async def change_basket(call: Call[str], id: Id, if_match: IfMatch) -> None:
    """Change a basket."""
    if_match.require(3)


@api.get("/v1/maybe", access=OPTIONAL)
async def maybe(call: Call[str]) -> Thing:
    """Greet whoever asks."""
    return Thing("1", call.caller_or_none.subject if call.caller_or_none else None)


@api.post("/v1/broken", access=PUBLIC)
async def broken(call: Call[str], what: str = "crash") -> None:
    """Fail."""
    if what == "conflict":
        raise Conflict("out-of-stock", "Nothing left.")
    if what == "away":
        raise Unavailable("database-unavailable", retry_after_s=3)
    raise RuntimeError("SELECT secret FROM somewhere")


@api.post("/v1/hook", access=PUBLIC, raw=True, max_body_bytes=100)
async def hook(call: Call[str], body: bytes) -> Thing:
    """Take raw bytes."""
    return Thing("1", body.decode())


APP = build_asgi(api, "the parts", Doorman(Verifier(), None, Metrics()))


async def post(target: str, body: bytes | None = None, **options: Any) -> Response:
    return await call(APP, "POST", target, body=body, **options)


async def get(target: str, token: str | None = None, **headers: str) -> Response:
    return await call(
        APP, "GET", target, headers={**({"authorization": f"Bearer {token}"} if token else {}), **headers}
    )


async def test_a_fitting_body_reaches_the_handler() -> None:
    answer = await post("/v1/baskets", json={"lines": [{"sku": "mug", "quantity": 2}]})
    assert (answer.status, answer.json["seen"]) == (201, ["mug"])
    assert (answer.headers["location"], answer.headers["etag"]) == ("/v1/baskets/1", '"v1"')


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"{", 400, "malformed-json", None),
        (b"", 400, "malformed-json", None),
        (b"\xff\xfe", 400, "malformed-json", None),
        (b'{"lines":' + b"[" * 100_000, 422, "invalid", "/lines/0"),
        (b'{"lines":[{"sku":"a","quantity":NaN}]}', 400, "malformed-json", None),
        (b'{"lines":[{"sku":"a","quantity":1.5}]}', 422, "invalid", "/lines/0/quantity"),
        (b'{"lines":[{"sku":"a","quantity":-1}]}', 422, "invalid", "/lines/0/quantity"),
        (b'{"lines":[{"sku":"a","quantity":99999999999999999999999}]}', 422, "invalid", "/lines/0/quantity"),
        (b'{"lines":[{"sku":"a"}]}', 422, "invalid", "/lines/0/quantity"),
        (b'{"lines":[{"sku":"a","quantity":1,"price":1}]}', 422, "invalid", "/lines/0/price"),
        (b'{"lines":[],"note":"a\\u0000b"}', 422, "invalid", "/note"),
        (b'{"lines":"x"}', 422, "invalid", "/lines"),
        (b"[]", 422, "invalid", ""),
        (b"null", 422, "invalid", ""),
    ],
)
async def test_what_does_not_fit_is_a_problem(body: bytes, status: int, code: str, pointer: str | None) -> None:
    answer = await post("/v1/baskets", body)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["request_id"]
    if pointer is not None:
        assert answer.json["errors"][0]["pointer"] == pointer


async def test_another_media_type_is_415() -> None:
    assert (
        await post("/v1/baskets", b"a=b", headers={"content-type": "application/x-www-form-urlencoded"})
    ).status == 415


async def test_too_long_a_body_is_413_also_when_the_length_is_not_told() -> None:
    assert (await post("/v1/hook", b"x" * 101)).status == 413
    assert (await post("/v1/hook", b"x" * 101, headers={"content-length": "1"})).status == 413
    assert (await post("/v1/hook", b"x" * 100)).json["seen"] == "x" * 100


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=1.5",
        "limit=-1",
        "limit=",
        "cursor=%00",
        "cursor=abc",
        "from=yesterday",
        "from=1",
        "from=null",
        "least=1e0",
        "least=11",
        "least=%201",
        "least=01",
        "least=null",
        "open=1",
        "open=no",
    ],
)
async def test_a_bad_query_is_400(query: str) -> None:
    answer = await get(f"/v1/baskets?{query}")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_a_page_leads_to_the_next() -> None:
    first = await get("/v1/baskets?limit=2&from=2026-01-01T00:00:00Z&least=1&open=false")
    assert [item["id"] for item in first.json["items"]] == ["0", "1"]
    second = await get(f"/v1/baskets?cursor={first.json['next_cursor']}")
    assert second.json["items"][0]["seen"] == "1"
    assert len(second.json["items"]) == 20


async def test_access() -> None:
    assert (await get(f"/v1/baskets/{ID}")).json["code"] == "token-missing"
    assert (await get(f"/v1/baskets/{ID}")).headers["www-authenticate"].startswith("Bearer")
    assert (await get(f"/v1/baskets/{ID}", "bad")).json["code"] == "token-invalid"
    assert (await get(f"/v1/baskets/{ID}", authorization="Basic x")).status == 401
    assert (await get(f"/v1/baskets/{ID}?deep=true", "alice")).json["seen"] == ["alice", True, "the parts"]
    assert (await call(APP, "PATCH", f"/v1/baskets/{ID}", headers={"authorization": "Bearer alice"})).status == 403
    assert (await get("/v1/maybe")).json["seen"] is None
    assert (await get("/v1/maybe", "alice")).json["seen"] == "alice"


async def test_a_path_that_names_nothing_is_404() -> None:
    for target in ("/v1/baskets/1", "/v1/baskets/%00", "/v1/nothing", f"/v1/baskets/{ID}/x", "/v1/baskets/"):
        assert (await get(target, "alice")).status == 404, target


async def test_another_method_is_405_with_allow() -> None:
    answer = await call(APP, "DELETE", "/v1/baskets")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_a_request_nobody_waits_for_any_more_does_not_reach_its_handler() -> None:
    reached: list[str] = []
    late = Api("late", tag="Late")

    @late.get("/v1/late", access=SIGNED_IN)
    async def handle(call: Call[str]) -> None:
        """Note the call."""
        reached.append(call.caller.subject)

    app = build_asgi(late, "the parts", Doorman(Verifier(), None, Metrics()))
    for timeout_ms, status in (("1", 504), ("60000", 200)):
        headers = {"authorization": "Bearer slow", "x-tradewind-timeout-ms": timeout_ms}
        answer = await call(app, "GET", "/v1/late", headers=headers)
        assert answer.status == status
        assert reached == ([] if status == 504 else ["slow"])
        assert status == 200 or answer.json["code"] == "deadline-exceeded"


async def test_preconditions() -> None:
    for tag, status in (("", 204), ('"v3"', 204), ('"v1", "v3"', 204), ("*", 204), ('"v2"', 412)):
        headers = {"authorization": "Bearer support", **({"if-match": tag} if tag else {})}
        assert (await call(APP, "PATCH", f"/v1/baskets/{ID}", headers=headers)).status == (
            status if status != 204 else 200
        ), tag


async def test_errors_of_handlers() -> None:
    conflict = await post("/v1/broken?what=conflict")
    assert (conflict.status, conflict.json["code"], conflict.json["detail"]) == (409, "out-of-stock", "Nothing left.")
    away = await post("/v1/broken?what=away")
    assert (away.status, away.headers["retry-after"]) == (503, "3")
    crash = await post("/v1/broken")
    assert (crash.status, crash.json["code"]) == (500, "internal-error")
    assert b"SELECT" not in crash.body


async def test_the_trace_and_the_request_id_of_the_client_are_kept() -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await get("/v1/nothing-here", **{"traceparent": traceparent, "x-request-id": "abc-1"})
    assert answer.json["request_id"] == "abc-1"
    answer = await post("/v1/broken?what=conflict", headers={"traceparent": traceparent})
    assert answer.json["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


def test_the_document_says_what_the_types_say() -> None:
    document = openapi_document(api, version="1")
    operation = document["paths"]["/v1/baskets"]["post"]
    assert (operation["summary"], operation["description"]) == ("Make a basket", "It holds lines.")
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Basket"}
    assert document["components"]["schemas"]["Line"]["properties"]["quantity"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 10,
    }
    listing = {parameter["name"] for parameter in document["paths"]["/v1/baskets"]["get"]["parameters"]}
    assert listing == {"from", "least", "open", "limit", "cursor"}
    assert "security" not in operation
    assert document["paths"]["/v1/baskets/{id}"]["get"]["security"] == [{"bearer": []}]


@pytest.mark.parametrize("path", ["/v1/a/{missing}"])
def test_a_declaration_that_contradicts_its_handler_stops_the_start(path: str) -> None:
    wrong = Api("wrong", tag="Wrong")

    @wrong.get(path, access=PUBLIC)
    async def handler(call: Call[None]) -> None:
        """Nothing."""

    with pytest.raises(TypeError, match="missing"):
        build_asgi(wrong, None, Doorman(None, None, Metrics()))
