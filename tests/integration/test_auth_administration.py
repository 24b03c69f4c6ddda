"""Roles, disabling and the first administrator, through auth-service's real door on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.served_room import Answer, Keys, Served, auth_room
from tradewind.chassis.errors import Unauthenticated
from tradewind.chassis.ids import new_id
from tradewind.services.auth import usecases
from tradewind.services.auth.parts import Parts

PASSWORD = "correct horse battery staple"
ADMIN = {"TRADEWIND_ADMIN_EMAIL": "Root@Example.test", "TRADEWIND_ADMIN_PASSWORD": PASSWORD}

Auth = Served[Parts]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest_asyncio.fixture
async def auth(room_database: RoomDatabase, keys: Keys) -> AsyncIterator[Auth]:
    access = await room_database("auth")
    async with auth_room(access.url, keys, **ADMIN) as room:
        yield room


async def register(auth: Auth, name: str) -> dict[str, Any]:
    body = {"email": f"{name}@example.test", "password": PASSWORD, "name": name}
    answer = await auth("POST", "/v1/auth/register", body)
    assert answer.status == 201, answer.body
    tokens: dict[str, Any] = answer.json
    return tokens


async def log_in(auth: Auth, name: str) -> Answer:
    return await auth("POST", "/v1/auth/login", {"email": f"{name}@example.test", "password": PASSWORD})


async def admin_token(auth: Auth) -> str:
    token: str = (await log_in(auth, "root")).json["access_token"]
    return token


async def make(auth: Auth, name: str, *roles: str) -> dict[str, Any]:
    """Somebody with `roles`, signed in with them."""
    user_id = (await register(auth, name))["user"]["id"]
    answer = await auth("PUT", f"/v1/users/{user_id}/roles", {"roles": list(roles)}, token=await admin_token(auth))
    assert answer.status == 200, answer.body
    tokens: dict[str, Any] = (await log_in(auth, name)).json
    return tokens


async def events_of(auth: Auth, user_id: str) -> list[tuple[str, int]]:
    return [(event["type"], event["aggregateversion"]) for event in await auth.outbox() if event["subject"] == user_id]


async def test_the_first_administrator_is_there_from_the_start(auth: Auth) -> None:
    signed_in = (await log_in(auth, "root")).json
    assert (signed_in["user"]["email"], signed_in["user"]["roles"]) == ("root@example.test", ["admin"])
    assert await events_of(auth, signed_in["user"]["id"]) == [("user.registered.v1", 1)]


async def test_instances_that_start_together_make_one_first_administrator(
    room_database: RoomDatabase, keys: Keys
) -> None:
    access = await room_database("auth")
    async with auth_room(access.url, keys) as auth:
        made = await asyncio.gather(
            *(usecases.ensure_first_admin(auth.parts, email="root@example.test", password=PASSWORD) for _ in range(4))
        )
        assert sorted(made) == [False, False, False, True]
        assert len(await auth.outbox()) == 1
        assert not await usecases.ensure_first_admin(auth.parts, email="ROOT@example.test", password="another one 1")
        assert (await log_in(auth, "root")).status == 200


async def test_roles_are_set_told_and_in_the_next_token(auth: Auth) -> None:
    ada = await register(auth, "ada")
    path, token = f"/v1/users/{ada['user']['id']}/roles", await admin_token(auth)
    answer = await auth("PUT", path, {"roles": ["support", "customer", "support"]}, token=token)
    assert answer.status == 200
    assert answer.headers["etag"] == '"v2"'
    assert answer.json == {
        "id": ada["user"]["id"],
        "email": "ada@example.test",
        "name": "ada",
        "roles": ["customer", "support"],
        "disabled": False,
    }
    refreshed = await auth("POST", "/v1/auth/refresh", {"refresh_token": ada["refresh_token"]})
    assert refreshed.json["user"]["roles"] == ["customer", "support"]
    again = await auth("PUT", path, {"roles": ["customer", "support"]}, token=token)
    assert (again.status, again.headers["etag"]) == (200, '"v2"')
    assert await events_of(auth, ada["user"]["id"]) == [("user.registered.v1", 1), ("user.roles_changed.v1", 2)]


async def test_what_are_no_roles_is_refused(auth: Auth) -> None:
    path, token = f"/v1/users/{(await register(auth, 'ada'))['user']['id']}/roles", await admin_token(auth)
    for roles in ([], ["root"], ["admin", 1], "admin", None, ["customer"] * 6):
        answer = await auth("PUT", path, {"roles": roles}, token=token)
        assert (answer.status, answer.code) == (422, "invalid"), roles


async def test_roles_are_set_to_the_version_that_was_seen(auth: Auth) -> None:
    ada = await register(auth, "ada")
    path, token = f"/v1/users/{ada['user']['id']}/roles", await admin_token(auth)
    stale = await auth("PUT", path, {"roles": ["support"]}, token=token, headers={"if-match": '"v7"'})
    assert (stale.status, stale.code) == (412, "version-mismatch")
    fresh = await auth("PUT", path, {"roles": ["support"]}, token=token, headers={"if-match": '"v1"'})
    assert fresh.status == 200


async def test_only_an_administrator_sets_roles(auth: Auth) -> None:
    ada = await register(auth, "ada")
    path = f"/v1/users/{ada['user']['id']}/roles"
    others = [(await make(auth, role, role))["access_token"] for role in ("support", "finance", "analyst", "customer")]
    for token in others:
        answer = await auth("PUT", path, {"roles": ["admin"]}, token=token)
        assert (answer.status, answer.code) == (403, "role-required")
    assert (await auth("PUT", path, {"roles": ["admin"]})).status == 401
    missing = await auth("PUT", f"/v1/users/{new_id()}/roles", {"roles": ["admin"]}, token=await admin_token(auth))
    assert (missing.status, missing.code) == (404, "not-found")


async def test_a_role_taken_back_is_gone_at_once_where_roles_are_kept(auth: Auth) -> None:
    second = await make(auth, "second", "admin")
    path, token = f"/v1/users/{second['user']['id']}/roles", await admin_token(auth)
    assert (await auth("PUT", path, {"roles": ["customer"]}, token=token)).status == 200
    # The old access token still says admin, and would otherwise give its owner the role back.
    answer = await auth("PUT", path, {"roles": ["admin"]}, token=second["access_token"])
    assert (answer.status, answer.code) == (403, "role-required")


async def test_a_disabled_user_cannot_come_in(auth: Auth) -> None:
    ada, support = await register(auth, "ada"), await make(auth, "sue", "support")
    user_id, token = ada["user"]["id"], support["access_token"]
    answer = await auth("POST", f"/v1/users/{user_id}/disable", token=token)
    assert (answer.status, answer.json["disabled"]) == (200, True)
    assert (await auth("POST", f"/v1/users/{user_id}/disable", token=token)).status == 200
    refused = await log_in(auth, "ada")
    assert (refused.status, refused.code) == (403, "user-disabled")
    wrong = await auth("POST", "/v1/auth/login", {"email": "ada@example.test", "password": "not this one"})
    assert (wrong.status, wrong.code) == (401, "credentials-wrong")
    refresh = {"refresh_token": ada["refresh_token"]}
    assert (await auth("POST", "/v1/auth/refresh", refresh)).status == 401
    change = {"current_password": PASSWORD, "new_password": "another staple, quite correct"}
    changed = await auth("POST", "/v1/auth/password/change", change, token=ada["access_token"])
    assert (changed.status, changed.code) == (403, "user-disabled")

    assert (await auth("POST", f"/v1/users/{user_id}/enable", token=token)).json["disabled"] is False
    assert (await auth("POST", f"/v1/users/{user_id}/enable", token=token)).status == 200
    assert (await log_in(auth, "ada")).status == 200
    assert (await auth("POST", "/v1/auth/refresh", refresh)).status == 401
    assert await events_of(auth, user_id) == [
        ("user.registered.v1", 1),
        ("user.disabled.v1", 2),
        ("user.enabled.v1", 3),
    ]


async def test_a_login_beside_a_disabling_leaves_no_session(auth: Auth) -> None:
    ada, token = await register(auth, "ada"), await admin_token(auth)
    path = f"/v1/users/{ada['user']['id']}"
    for _ in range(5):
        *logins, disabled = await asyncio.gather(
            *(log_in(auth, "ada") for _ in range(4)), auth("POST", f"{path}/disable", token=token)
        )
        assert disabled.status == 200
        assert {answer.status for answer in logins} <= {200, 401, 403}
        assert (
            await auth.foundation.database.value("SELECT count(*) FROM session WHERE user_id = $1", ada["user"]["id"])
            == 0
        )
        assert (await auth("POST", f"{path}/enable", token=token)).status == 200


async def test_a_login_that_was_checked_before_the_disabling_gets_no_session(auth: Auth) -> None:
    ada = await register(auth, "ada")
    entered, goes_on = asyncio.Event(), asyncio.Event()

    class Slow:
        """Verifies, and then lets something else happen first."""

        async def verify(self, password: str, hash_: str | None) -> bool:
            verified = await auth.parts.passwords.verify(password, hash_)
            entered.set()
            await goes_on.wait()
            return verified

    slow = Parts(**{**vars(auth.parts), "passwords": Slow()})
    login = asyncio.create_task(usecases.log_in(slow, email="ada@example.test", password=PASSWORD, user_agent=""))
    await entered.wait()
    disabled = await auth("POST", f"/v1/users/{ada['user']['id']}/disable", token=await admin_token(auth))
    assert disabled.status == 200
    goes_on.set()
    with pytest.raises(Unauthenticated):
        await login
    assert (
        await auth.foundation.database.value("SELECT count(*) FROM session WHERE user_id = $1", ada["user"]["id"]) == 0
    )


async def test_support_does_not_touch_administrators(auth: Auth) -> None:
    support, second = await make(auth, "sue", "support"), await make(auth, "second", "admin")
    for verb in ("disable", "enable"):
        answer = await auth("POST", f"/v1/users/{second['user']['id']}/{verb}", token=support["access_token"])
        assert (answer.status, answer.code) == (403, "role-required")
    path = f"/v1/users/{second['user']['id']}/disable"
    assert (await auth("POST", path, token=await admin_token(auth))).status == 200
    for role in ("customer", "finance", "analyst"):
        token = (await make(auth, role, role))["access_token"]
        assert (await auth("POST", f"/v1/users/{support['user']['id']}/disable", token=token)).status == 403


async def test_the_last_administrator_stays(auth: Auth) -> None:
    root = (await log_in(auth, "root")).json
    user_id, token = root["user"]["id"], root["access_token"]
    second = await make(auth, "second", "admin")
    assert (await auth("POST", f"/v1/users/{second['user']['id']}/disable", token=token)).status == 200
    for answer in (
        await auth("PUT", f"/v1/users/{user_id}/roles", {"roles": ["support"]}, token=token),
        await auth("POST", f"/v1/users/{user_id}/disable", token=token),
    ):
        assert (answer.status, answer.code) == (409, "last-admin")
    assert (await auth("PUT", f"/v1/users/{user_id}/roles", {"roles": ["admin", "finance"]}, token=token)).status == 200


async def test_two_administrators_cannot_both_go_at_once(auth: Auth) -> None:
    root = (await log_in(auth, "root")).json
    for n in range(4):
        second = await make(auth, f"second{n}", "admin")
        answers = await asyncio.gather(
            auth("PUT", f"/v1/users/{second['user']['id']}/roles", {"roles": ["customer"]}, token=root["access_token"]),
            auth("POST", f"/v1/users/{root['user']['id']}/disable", token=second["access_token"]),
        )
        assert sorted(answer.status for answer in answers) == [200, 403]
        admins = "SELECT count(*) FROM account WHERE 'admin' = ANY (roles) AND NOT disabled"
        assert await auth.foundation.database.value(admins) == 1
        await auth.foundation.database.execute(
            "UPDATE account SET roles = CASE WHEN id = $1 THEN '{admin}'::text[] ELSE '{customer}' END, disabled = false",
            root["user"]["id"],
        )


async def test_a_login_storm_costs_its_callers_a_503_and_nobody_else_anything(
    room_database: RoomDatabase, keys: Keys
) -> None:
    access = await room_database("auth")
    async with auth_room(access.url, keys, AUTH_HASH_QUEUE="2") as auth:
        ada = await register(auth, "ada")
        storm = [asyncio.create_task(log_in(auth, "ada")) for _ in range(30)]
        calm = [await auth("GET", "/v1/auth/sessions", token=ada["access_token"]) for _ in range(10)]
        answers = await asyncio.gather(*storm)
        assert {answer.status for answer in calm} == {200}
        assert {answer.status for answer in answers} == {200, 503}
        [refused, *_] = [answer for answer in answers if answer.status == 503]
        assert (refused.code, refused.headers["retry-after"]) == ("overloaded", "1")
        assert (await log_in(auth, "ada")).status == 200
