"""Addresses through user-service's real door on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.served_room import Keys, Served, user_room
from tradewind.chassis.ids import new_id
from tradewind.services.user.parts import Parts

PATH = "/v1/users/me/addresses"
HOME = {
    "name": "Ada",
    "line1": "1 Old St",
    "line2": "Flat 2",
    "city": "London",
    "postal_code": "E1 6AN",
    "region": "Greater London",
    "country": "GB",
}

Users = Served[Parts]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def token(keys: Keys) -> str:
    return keys.token(new_id())


@pytest_asyncio.fixture
async def users(room_database: RoomDatabase, keys: Keys) -> AsyncIterator[Users]:
    async with user_room(room_database, keys) as room:
        yield room


async def add(users: Users, token: str, **change: Any) -> dict[str, Any]:
    answer = await users("POST", PATH, {**HOME, **change}, token=token)
    assert answer.status == 201, answer.body
    address: dict[str, Any] = answer.json
    return address


async def listed(users: Users, token: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await users("GET", f"{PATH}?limit=100", token=token)).json["items"]
    return items


async def test_an_address_is_added_and_read(users: Users, token: str) -> None:
    answer = await users("POST", PATH, {**HOME, "line1": " 1 Old St "}, token=token)
    assert (answer.status, answer.headers["etag"]) == (201, '"v1"')
    assert answer.headers["location"] == f"{PATH}/{answer.json['id']}"
    assert answer.json == {**HOME, "id": answer.json["id"], "is_default": True}
    read = await users("GET", answer.headers["location"], token=token)
    assert (read.status, read.json, read.headers["etag"]) == (200, answer.json, '"v1"')
    assert await listed(users, token) == [answer.json]


async def test_what_may_be_left_out_may_be_left_out(users: Users, token: str) -> None:
    address = await add(users, token, line2=None, region=None)
    assert (address["line2"], address["region"]) == (None, None)
    short = {key: value for key, value in HOME.items() if key not in {"line2", "region"}}
    assert (await users("POST", PATH, short, token=token)).status == 201


async def test_one_address_is_the_default(users: Users, token: str) -> None:
    first, second = await add(users, token), await add(users, token)
    assert (first["is_default"], second["is_default"]) == (True, False)
    third = await add(users, token, is_default=True)
    assert [address["is_default"] for address in await listed(users, token)] == [False, False, True]
    assert (await users("GET", f"{PATH}/{first['id']}", token=token)).headers["etag"] == '"v2"'
    await users("PATCH", f"{PATH}/{second['id']}", {"is_default": True}, token=token)
    assert [address["is_default"] for address in await listed(users, token)] == [False, True, False]
    await users("PUT", f"{PATH}/{third['id']}", {**HOME, "is_default": True}, token=token)
    assert [address["is_default"] for address in await listed(users, token)] == [False, False, True]
    await users("PUT", f"{PATH}/{third['id']}", {**HOME, "is_default": True}, token=token)
    await users("DELETE", f"{PATH}/{third['id']}", token=token)
    assert [address["is_default"] for address in await listed(users, token)] == [False, False]


async def test_of_many_defaults_at_once_one_stays(users: Users, token: str) -> None:
    await asyncio.gather(*(add(users, token, is_default=True) for _ in range(8)))
    assert sum(address["is_default"] for address in await listed(users, token)) == 1


async def test_an_address_is_changed_in_part(users: Users, token: str) -> None:
    address = await add(users, token)
    path = f"{PATH}/{address['id']}"
    answer = await users("PATCH", path, {"city": "Leeds", "line2": None}, token=token)
    assert (answer.status, answer.headers["etag"]) == (200, '"v2"')
    assert answer.json == {**address, "city": "Leeds", "line2": None}
    same = await users("PATCH", path, {"city": "Leeds"}, token=token)
    assert (same.status, same.headers["etag"]) == (200, '"v2"')


async def test_an_address_is_replaced(users: Users, token: str) -> None:
    address = await add(users, token)
    new = {"name": "B", "line1": "2", "city": "C", "postal_code": "3", "country": "DE"}
    answer = await users("PUT", f"{PATH}/{address['id']}", new, token=token)
    assert answer.json == {**new, "line2": None, "region": None, "is_default": False, "id": address["id"]}


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
async def test_a_change_to_something_older_is_refused(users: Users, token: str, method: str) -> None:
    address = await add(users, token)
    path, body = f"{PATH}/{address['id']}", None if method == "DELETE" else {**HOME, "city": "York"}
    await users("PATCH", path, {"city": "Leeds"}, token=token)
    stale = await users(method, path, body, token=token, headers={"if-match": '"v1"'})
    assert (stale.status, stale.code) == (412, "version-mismatch")
    assert (await users("GET", path, token=token)).json["city"] == "Leeds"
    fresh = await users(method, path, body, token=token, headers={"if-match": '"v1", "v2"'})
    assert fresh.status in {200, 204}


async def test_a_deleted_address_is_gone(users: Users, token: str) -> None:
    path = f"{PATH}/{(await add(users, token))['id']}"
    assert (await users("DELETE", path, token=token)).status == 204
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {}), ("PUT", HOME)):
        answer = await users(method, path, body, token=token)
        assert (answer.status, answer.code) == (404, "not-found")


async def test_somebody_elses_address_is_not_found(users: Users, keys: Keys, token: str) -> None:
    address = await add(users, token)
    for thief in (keys.token(new_id()), keys.token(new_id(), "admin")):
        for id_ in (address["id"], new_id(), "x", "%00", f"{address['id']}%0A"):
            for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"city": "X"}), ("PUT", HOME)):
                answer = await users(method, f"{PATH}/{id_}", body, token=thief)
                assert (answer.status, answer.code) == (404, "not-found"), (method, id_)
        assert await listed(users, thief) == []
    assert await listed(users, token) == [address]


async def test_there_is_room_for_fifty_also_at_once(users: Users, token: str) -> None:
    for _ in range(46):
        await add(users, token)
    answers = await asyncio.gather(*(users("POST", PATH, HOME, token=token) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] * 4 + [409] * 4
    assert {answer.code for answer in answers if answer.status == 409} == {"too-many-addresses"}
    assert len(await listed(users, token)) == 50


async def test_addresses_are_listed_by_page(users: Users, token: str) -> None:
    made = [(await add(users, token))["id"] for _ in range(5)]
    first = (await users("GET", f"{PATH}?limit=3", token=token)).json
    second = (await users("GET", f"{PATH}?limit=3&cursor={first['next_cursor']}", token=token)).json
    assert [address["id"] for address in first["items"] + second["items"]] == sorted(made)
    assert second["next_cursor"] is None
    assert (await users("GET", f"{PATH}?cursor=%22", token=token)).status == 400


MISFITS = [
    ({"country": "XX"}, "/country"),
    ({"country": "gb"}, "/country"),
    ({"country": "GB\n"}, "/country"),
    ({"country": "DEU"}, "/country"),
    ({"line1": " "}, "/line1"),
    ({"line1": "1\n2"}, "/line1"),
    ({"city": None}, "/city"),
    ({"postal_code": "x" * 21}, "/postal_code"),
    ({"postal_code": 12345}, "/postal_code"),
    ({"name": "A\0"}, "/name"),
    ({"region": 1.0}, "/region"),
    ({"is_default": 1}, "/is_default"),
    ({"planet": "Mars"}, "/planet"),
]


async def test_what_does_not_fit_is_named(users: Users, token: str) -> None:
    address = await add(users, token)
    for change, pointer in MISFITS:
        for method, path in (("POST", PATH), ("PUT", f"{PATH}/{address['id']}"), ("PATCH", f"{PATH}/{address['id']}")):
            answer = await users(method, path, {**HOME, **change}, token=token)
            assert (answer.status, answer.code) == (422, "invalid"), (method, change)
            assert [error["pointer"] for error in answer.json["errors"]] == [pointer]
    assert await listed(users, token) == [address]


async def test_a_missing_field_is_named(users: Users, token: str) -> None:
    answer = await users("POST", PATH, {**{key: HOME[key] for key in HOME if key != "city"}}, token=token)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/city")
