"""Profiles through user-service's real doors on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.served_room import Keys, Served, user_room
from tradewind.chassis.errors import NotFound
from tradewind.chassis.ids import new_id
from tradewind.contracts.auth import UserDisabled, UserEnabled, UserRegistered, UserRolesChanged
from tradewind.services.user.parts import Parts

ME = "/v1/users/me"

Users = Served[Parts]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest_asyncio.fixture
async def users(room_database: RoomDatabase, keys: Keys) -> AsyncIterator[Users]:
    async with user_room(room_database, keys) as room:
        yield room


async def register(users: Users, name: str = "Ada", email: str = "ada@example.test", user_id: str = "") -> str:
    user_id = user_id or new_id()
    event = UserRegistered(user_id=user_id, email=email, name=name, roles=["customer"])
    await users.hear(event, subject=user_id, version=1)
    return user_id


async def test_my_profile_is_there_before_any_event(users: Users, keys: Keys) -> None:
    user_id = new_id()
    before = await users("GET", ME, token=keys.token(user_id))
    assert (before.status, before.headers["etag"]) == (200, '"v1"')
    assert before.json == {
        "id": user_id,
        "email": "ada@example.test",
        "name": "Ada",
        "roles": ["customer"],
        "locale": None,
        "phone": None,
    }
    await register(users, user_id=user_id)
    after = await users("GET", ME, token=keys.token(user_id))
    assert (after.json, after.headers["etag"]) == (before.json, before.headers["etag"])


async def test_changing_my_profile_before_any_event_survives_the_event(users: Users, keys: Keys) -> None:
    user_id = new_id()
    token = keys.token(user_id)
    answer = await users("PATCH", ME, {"name": " Countess ", "phone": "+441632960961"}, token=token)
    assert (answer.status, answer.headers["etag"], answer.json["name"]) == (200, '"v2"', "Countess")
    await register(users, user_id=user_id)
    after = await users("GET", ME, token=token)
    assert (after.json["name"], after.json["phone"], after.headers["etag"]) == ("Countess", "+441632960961", '"v2"')


async def test_a_change_is_told_once(users: Users, keys: Keys) -> None:
    token = keys.token(await register(users))
    for body in ({"name": "Ada K."}, {"name": "Ada K."}, {"phone": "+441632960961"}, {}, {"locale": "en-GB"}):
        assert (await users("PATCH", ME, body, token=token)).status == 200
    told = [(event["type"], event["aggregateversion"], event["data"]) for event in await users.outbox()]
    user_id = (await users("GET", ME, token=token)).json["id"]
    assert told == [
        ("user.profile_changed.v1", 1, {"user_id": user_id, "name": "Ada K.", "locale": None}),
        ("user.profile_changed.v1", 2, {"user_id": user_id, "name": "Ada K.", "locale": "en-GB"}),
    ]


async def test_null_clears_and_what_is_left_out_stays(users: Users, keys: Keys) -> None:
    token = keys.token(await register(users))
    await users("PATCH", ME, {"locale": "de-CH", "phone": "+441632960961"}, token=token)
    answer = await users("PATCH", ME, {"phone": None}, token=token)
    assert (answer.json["locale"], answer.json["phone"]) == ("de-CH", None)


async def test_a_change_to_something_older_is_refused(users: Users, keys: Keys) -> None:
    token = keys.token(await register(users))
    seen = {"if-match": (await users("GET", ME, token=token)).headers["etag"]}
    assert (await users("PATCH", ME, {"name": "One"}, token=token, headers=seen)).status == 200
    stale = await users("PATCH", ME, {"name": "Two"}, token=token, headers=seen)
    assert (stale.status, stale.code) == (412, "version-mismatch")
    assert (await users("PATCH", ME, {"name": "Two"}, token=token, headers={"if-match": "*"})).status == 200
    assert (await users("GET", ME, token=token)).json["name"] == "Two"


async def test_of_two_changes_to_one_version_one_is_made(users: Users, keys: Keys) -> None:
    token = keys.token(new_id())
    seen = {"if-match": '"v1"'}
    answers = await asyncio.gather(
        *(users("PATCH", ME, {"name": f"Ada {n}"}, token=token, headers=seen) for n in range(6))
    )
    assert sorted(answer.status for answer in answers) == [200, 412, 412, 412, 412, 412]
    assert [event["aggregateversion"] for event in await users.outbox()] == [1]


MISFITS = [
    ({"name": None}, "/name"),
    ({"name": ""}, "/name"),
    ({"name": "  "}, "/name"),
    ({"name": "A\0"}, "/name"),
    ({"name": "A\nB"}, "/name"),
    ({"name": 1.5}, "/name"),
    ({"name": "x" * 201}, "/name"),
    ({"locale": "x"}, "/locale"),
    ({"phone": "12"}, "/phone"),
    ({"email": "eve@example.test"}, "/email"),
    ({"roles": ["admin"]}, "/roles"),
    ({"id": "x"}, "/id"),
]


async def test_what_does_not_fit_is_named(users: Users, keys: Keys) -> None:
    for body, pointer in MISFITS:
        answer = await users("PATCH", ME, body, token=keys.token(new_id()))
        assert (answer.status, answer.code) == (422, "invalid"), body
        assert [error["pointer"] for error in answer.json["errors"]] == [pointer]


BODIES = [b"{", b"[" * 100_000, b'{"name":' + b"[" * 100_000 + b"}", b"", b'{"name":"\xff"}', b"1e999"]


async def test_no_body_breaks_the_door(users: Users, keys: Keys) -> None:
    for body in BODIES:
        answer = await users("PATCH", ME, body=body, token=keys.token(new_id()))
        assert answer.status in {400, 422}, body[:20]
        assert answer.code


async def test_a_token_is_needed(users: Users, keys: Keys, tmp_path: Path) -> None:
    forged = Keys(tmp_path, kid="k2").token(new_id(), "admin")
    for method, path in (("GET", ME), ("PATCH", ME), ("GET", f"{ME}/addresses"), ("GET", "/v1/users")):
        assert (await users(method, path)).status == 401
        assert (await users(method, path, token=forged)).status == 401


async def test_a_profile_follows_its_account(users: Users, keys: Keys) -> None:
    user_id = await register(users)
    support, path = keys.token(new_id(), "support"), f"/v1/users/{user_id}"
    await users.hear(UserRolesChanged(user_id=user_id, roles=["customer", "finance"]), subject=user_id, version=2)
    await users.hear(UserDisabled(user_id=user_id), subject=user_id, version=3)
    answer = await users("GET", path, token=support)
    assert (answer.json["roles"], answer.json["disabled"]) == (["customer", "finance"], True)
    assert answer.json["registered_at"]
    assert answer.headers["etag"] == '"v3"'
    await users.hear(UserEnabled(user_id=user_id), subject=user_id, version=4)
    assert (await users("GET", path, token=support)).json["disabled"] is False


async def test_old_news_change_nothing(users: Users, keys: Keys) -> None:
    user_id = await register(users)
    await users.hear(UserEnabled(user_id=user_id), subject=user_id, version=5)
    await users.hear(UserDisabled(user_id=user_id), subject=user_id, version=4)
    await users.hear(UserRolesChanged(user_id=user_id, roles=["admin"]), subject=user_id, version=3)
    await users.hear(
        UserRegistered(user_id=user_id, email="x@example.test", name="X", roles=["admin"]), subject=user_id, version=1
    )
    seen = (await users("GET", f"/v1/users/{user_id}", token=keys.token(new_id(), "support"))).json
    assert (seen["disabled"], seen["roles"], seen["email"]) == (False, ["customer"], "ada@example.test")


async def test_news_of_nobody_wait_for_the_registration(users: Users) -> None:
    user_id = new_id()
    for event in (UserDisabled(user_id=user_id), UserRolesChanged(user_id=user_id, roles=["admin"])):
        with pytest.raises(NotFound):
            await users.hear(event, subject=user_id, version=2)


async def test_support_finds_users(users: Users, keys: Keys) -> None:
    ada = await register(users, "Ada Lovelace", "ada@example.test")
    bob = await register(users, "Bob_100%", "bob@example.test")
    eva = await register(users, "ÉVA", "eva@elsewhere.test")
    token = keys.token(new_id(), "support")

    async def found(query: str) -> list[str]:
        answer = await users("GET", f"/v1/users{query}", token=token)
        assert answer.status == 200, answer.body
        return [item["id"] for item in answer.json["items"]]

    assert await found("") == await found("?query=") == sorted([ada, bob, eva], reverse=True)
    assert await found("?query=LOVE") == [ada]
    assert await found("?query=%20example.test%20") == sorted([ada, bob], reverse=True)
    assert await found("?query=%C3%A9va") == [eva]
    assert await found("?query=_100%25") == [bob]
    assert await found("?query=%25") == [bob]
    assert await found("?query=_") == [bob]
    assert await found("?query=%5C") == []
    assert await found("?query=null") == []
    assert await found("?query=%27%20OR%201=1") == []


async def test_users_are_listed_by_page(users: Users, keys: Keys) -> None:
    made = [await register(users, f"U{n}", f"u{n}@example.test") for n in range(5)]
    token = keys.token(new_id(), "admin")
    path, seen = "/v1/users?query=example&limit=2", []
    while path:
        page = (await users("GET", path, token=token)).json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        path = f"/v1/users?query=example&limit=2&cursor={cursor}" if cursor else ""
    assert seen == sorted(made, reverse=True)


BAD_QUERIES = [
    "limit=0",
    "limit=101",
    "limit=",
    "limit=1e1",
    "cursor=x",
    "cursor=WyIxIl0",
    "query=%00",
    "query=" + "x" * 201,
]


async def test_a_bad_query_is_refused(users: Users, keys: Keys) -> None:
    for query in BAD_QUERIES:
        answer = await users("GET", f"/v1/users?{query}", token=keys.token(new_id(), "support"))
        assert answer.status == 400, query
        assert answer.code


async def test_only_support_sees_others(users: Users, keys: Keys) -> None:
    ada = await register(users)
    for role in ("customer", "finance", "analyst"):
        for path in ("/v1/users", f"/v1/users/{ada}"):
            answer = await users("GET", path, token=keys.token(ada, role))  # type: ignore[arg-type]
            assert (answer.status, answer.code) == (403, "role-required")


NOBODIES = ["01890a5d-ac96-774b-bcce-b302099a8057", "x", "%00", "01890a5d-ac96-774b-bcce-b302099a8057%0A", "ME"]


async def test_who_is_not_there_is_not_found(users: Users, keys: Keys) -> None:
    for user_id in NOBODIES:
        answer = await users("GET", f"/v1/users/{user_id}", token=keys.token(new_id(), "support"))
        assert (answer.status, answer.code) == (404, "not-found"), user_id


async def test_what_is_not_built_yet_is_absent(users: Users, keys: Keys) -> None:
    token = keys.token(new_id())
    assert (await users("GET", f"{ME}/export", token=token)).status == 404
    assert (await users("DELETE", ME, token=token)).status == 405
