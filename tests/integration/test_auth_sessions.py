"""Signing in, staying in and leaving, through auth-service's real door on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.served_room import Answer, Keys, Served, auth_room
from tradewind.chassis.ids import new_id
from tradewind.contracts.user import UserProfileChanged
from tradewind.services.auth.parts import Parts
from tradewind.services.auth.passwords import Passwords
from tradewind.services.auth.usecases import forget_expired_sessions

PASSWORD = "correct horse battery staple"
ADA = {"email": "ada@example.test", "password": PASSWORD, "name": "Ada"}

Auth = Served[Parts]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest_asyncio.fixture
async def auth(room_database: RoomDatabase, keys: Keys) -> AsyncIterator[Auth]:
    access = await room_database("auth")
    async with auth_room(access.url, keys) as room:
        yield room


async def registered(auth: Auth, email: str = "ada@example.test") -> dict[str, Any]:
    answer = await auth("POST", "/v1/auth/register", {**ADA, "email": email})
    assert answer.status == 201, answer.body
    tokens: dict[str, Any] = answer.json
    return tokens


async def log_in(auth: Auth, email: str = "ada@example.test", password: str = PASSWORD) -> Answer:
    return await auth("POST", "/v1/auth/login", {"email": email, "password": password})


async def refresh(auth: Auth, token: str) -> Answer:
    return await auth("POST", "/v1/auth/refresh", {"refresh_token": token})


async def test_registering_signs_in_and_says_so(auth: Auth) -> None:
    answer = await auth("POST", "/v1/auth/register", {**ADA, "email": " Ada@Example.TEST ", "name": " Ada "})
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json
    user = tokens["user"]
    assert {**tokens, "access_token": "", "refresh_token": "", "session_id": ""} == {
        "access_token": "",
        "refresh_token": "",
        "token_type": "Bearer",
        "expires_in": 600,
        "session_id": "",
        "user": {"id": user["id"], "email": "ada@example.test", "name": "Ada", "roles": ["customer"]},
    }
    [event] = await auth.outbox()
    assert (event["type"], event["subject"], event["aggregateversion"]) == ("user.registered.v1", user["id"], 1)
    assert event["data"] == {"user_id": user["id"], "email": "ada@example.test", "name": "Ada", "roles": ["customer"]}


async def test_the_access_token_is_what_every_service_expects(auth: Auth) -> None:
    tokens = await registered(auth)
    jwks = (await auth("GET", "/.well-known/jwks.json")).json
    header = jwt.get_unverified_header(tokens["access_token"])
    assert (header["alg"], header["typ"]) == ("ES256", "at+jwt")
    [key] = [key for key in jwks["keys"] if key["kid"] == header["kid"]]
    assert "d" not in key
    claims = jwt.decode(
        tokens["access_token"], jwt.PyJWK(key), algorithms=["ES256"], audience="tradewind", issuer="tradewind"
    )
    assert claims["sub"] == tokens["user"]["id"]
    assert claims["sid"] == tokens["session_id"]
    assert (claims["email"], claims["name"], claims["roles"]) == ("ada@example.test", "Ada", ["customer"])
    assert claims["exp"] - claims["iat"] == 600
    assert claims["jti"]


async def test_the_longest_name_still_makes_a_token_that_is_accepted(auth: Auth) -> None:
    answer = await auth("POST", "/v1/auth/register", {**ADA, "name": "\U0001f600" * 200})
    assert (await auth("GET", "/v1/auth/sessions", token=answer.json["access_token"])).status == 200


async def test_an_address_is_taken_in_any_case(auth: Auth) -> None:
    await registered(auth)
    answer = await auth("POST", "/v1/auth/register", {**ADA, "email": "ADA@example.test"})
    assert (answer.status, answer.code) == (409, "email-taken")
    assert len(await auth.outbox()) == 1


async def test_of_two_who_register_one_address_one_gets_it(auth: Auth) -> None:
    answers = await asyncio.gather(*(auth("POST", "/v1/auth/register", ADA) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert len(await auth.outbox()) == 1


MISFITS = [
    ({"email": "nobody"}, "/email"),
    ({"email": "a@b@example.test"}, "/email"),
    ({"email": 1.5}, "/email"),
    ({"password": "short"}, "/password"),
    ({"password": "password123"}, "/password"),
    ({"password": "ada@example.test"}, "/password"),
    ({"password": "x" * 129}, "/password"),
    ({"name": " "}, "/name"),
    ({"name": "x" * 201}, "/name"),
    ({"name": "Ada\nBcc: all"}, "/name"),
    ({"name": "A\0da"}, "/name"),
    ({"roles": ["admin"]}, "/roles"),
]


async def test_what_does_not_fit_is_named(auth: Auth) -> None:
    for change, pointer in MISFITS:
        answer = await auth("POST", "/v1/auth/register", {**ADA, **change})
        assert (answer.status, answer.code) == (422, "invalid"), change
        assert [error["pointer"] for error in answer.json["errors"]] == [pointer]
    assert await auth.outbox() == []


BODIES = [
    (b"", {400}),
    (b"{", {400}),
    (b"\0", {400}),
    (b"[" * 100_000, {400, 422}),
    (b'{"email":' * 50_000, {400, 422}),
    (b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {400, 422}),
    (b'{"email":"\\ud800","password":"","name":""}', {400, 422}),
    (b'{"email":"a\xff","password":"","name":""}', {400, 422}),
    (b"[]", {422}),
    (b"null", {422}),
    (b"1e999", {422}),
    (b'{"email":1.0,"password":1e400,"name":NaN}', {400, 422}),
    (b'{"email":"' + b"a" * 1_100_000 + b'"}', {413}),
]


async def test_no_body_breaks_the_door(auth: Auth) -> None:
    for body, statuses in BODIES:
        for path in ("/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh"):
            answer = await auth("POST", path, body=body)
            assert answer.status in statuses, (path, answer.body)
            assert answer.code


async def test_other_media_types_are_refused(auth: Auth) -> None:
    answer = await auth("POST", "/v1/auth/login", body=b"email=a", headers={"content-type": "text/plain"})
    assert (answer.status, answer.code) == (415, "unsupported-media-type")


async def test_logging_in_opens_another_session(auth: Auth) -> None:
    first = await registered(auth)
    answer = await log_in(auth, " ADA@Example.test")
    assert answer.status == 200
    assert answer.json["session_id"] != first["session_id"]
    assert answer.json["user"] == first["user"]


async def test_a_wrong_password_and_an_unknown_address_look_the_same(auth: Auth) -> None:
    await registered(auth)
    answers = [
        await log_in(auth, password="correct horse battery stable"),
        await log_in(auth, email="eve@example.test"),
        await log_in(auth, email="no address"),
        await log_in(auth, password=""),
    ]
    assert {(answer.status, answer.code) for answer in answers} == {(401, "credentials-wrong")}
    assert len({answer.json["detail"] for answer in answers}) == 1


async def test_refreshing_gives_new_tokens_for_the_same_session(auth: Auth) -> None:
    first = await registered(auth)
    second = (await refresh(auth, first["refresh_token"])).json
    third = (await refresh(auth, second["refresh_token"])).json
    assert first["session_id"] == second["session_id"] == third["session_id"]
    assert len({tokens["refresh_token"] for tokens in (first, second, third)}) == 3
    assert len({tokens["access_token"] for tokens in (first, second, third)}) == 3
    assert third["user"] == first["user"]


async def test_only_digests_of_refresh_tokens_are_kept(auth: Auth) -> None:
    tokens = await registered(auth)
    [row] = await auth.foundation.database.rows("SELECT session::text AS text, lineage_hash, secret_hash FROM session")
    assert tokens["refresh_token"] not in row["text"]
    assert (len(row["lineage_hash"]), len(row["secret_hash"])) == (32, 32)


@pytest.mark.parametrize("generation", [0, 1, 2])
async def test_a_used_refresh_token_ends_its_session(auth: Auth, generation: int) -> None:
    tokens = [(await registered(auth))["refresh_token"]]
    other = (await log_in(auth)).json["refresh_token"]
    for _ in range(3):
        tokens.append((await refresh(auth, tokens[-1])).json["refresh_token"])
    reused = await refresh(auth, tokens[generation])
    assert (reused.status, reused.code) == (401, "refresh-token-invalid")
    assert (await refresh(auth, tokens[-1])).status == 401
    assert (await refresh(auth, other)).status == 200


@pytest.mark.parametrize("senders", [2, 8])
async def test_of_simultaneous_uses_exactly_one_wins(auth: Auth, senders: int) -> None:
    for _ in range(5):
        tokens = (await log_in(auth)).json if await known(auth) else await registered(auth)
        answers = await asyncio.gather(*(refresh(auth, tokens["refresh_token"]) for _ in range(senders)))
        statuses = sorted(answer.status for answer in answers)
        assert statuses == [200] + [401] * (senders - 1)
        [winner] = [answer for answer in answers if answer.status == 200]
        assert (await refresh(auth, winner.json["refresh_token"])).status == 401


async def known(auth: Auth) -> bool:
    return bool(await auth.foundation.database.value("SELECT count(*) FROM account"))


NO_TOKENS = ["", "x", "twr_" + "A" * 86, "twr_" + "!" * 86, "twr_" + "A" * 86 + "\n", "é" * 90]


async def test_what_is_no_refresh_token_is_refused(auth: Auth) -> None:
    for token in NO_TOKENS:
        answer = await refresh(auth, token)
        assert (answer.status, answer.code) == (401, "refresh-token-invalid"), token


async def test_an_expired_session_is_over(room_database: RoomDatabase, keys: Keys) -> None:
    access = await room_database("auth")
    async with auth_room(access.url, keys, AUTH_SESSION_TTL_S="0.000001") as auth:
        tokens = await registered(auth)
        assert (await auth("GET", "/v1/auth/sessions", token=tokens["access_token"])).json["items"] == []
        await forget_expired_sessions(auth.parts)
        assert await auth.foundation.database.value("SELECT count(*) FROM session") == 0
        assert (await refresh(auth, tokens["refresh_token"])).status == 401


async def test_logging_out_ends_this_session_only(auth: Auth) -> None:
    first = await registered(auth)
    second = (await log_in(auth)).json
    for _ in range(2):
        assert (await auth("POST", "/v1/auth/logout", token=first["access_token"])).status == 204
    assert (await refresh(auth, first["refresh_token"])).status == 401
    assert (await refresh(auth, second["refresh_token"])).status == 200


async def test_sessions_are_listed_by_page(auth: Auth) -> None:
    first = await registered(auth)
    for _ in range(3):
        await log_in(auth)
    path, seen = "/v1/auth/sessions?limit=3", []
    while True:
        page = (await auth("GET", path, token=first["access_token"])).json
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        path = f"/v1/auth/sessions?limit=3&cursor={page['next_cursor']}"
    assert len({session["id"] for session in seen}) == len(seen) == 4
    assert [session["current"] for session in seen] == [False, False, False, True]
    assert seen[-1]["id"] == first["session_id"]
    assert seen[0]["user_agent"].startswith("Python")


async def test_a_bad_page_is_refused(auth: Auth) -> None:
    tokens = await registered(auth)
    for query in ("limit=0", "limit=101", "limit=x", "limit=1.5", "cursor=%00", "cursor=WyJ4Il0", "cursor=W10"):
        answer = await auth("GET", f"/v1/auth/sessions?{query}", token=tokens["access_token"])
        assert answer.status == 400, query


async def test_the_oldest_session_makes_room(auth: Auth) -> None:
    first = await registered(auth)
    await auth.foundation.database.execute(
        "INSERT INTO session SELECT u.id, user_id, 'x', uuid_send(u.id), secret_hash, created_at, refreshed_at, expires_at"
        " FROM session, unnest($1::uuid[]) AS u (id)",
        [new_id() for _ in range(99)],
    )
    assert (await log_in(auth)).status == 200
    assert await auth.foundation.database.value("SELECT count(*) FROM session") == 100
    assert (await refresh(auth, first["refresh_token"])).status == 401


async def test_a_session_is_ended_from_another(auth: Auth) -> None:
    first = await registered(auth)
    second = (await log_in(auth)).json
    path = f"/v1/auth/sessions/{first['session_id']}"
    assert (await auth("DELETE", path, token=second["access_token"])).status == 204
    assert (await auth("DELETE", path, token=second["access_token"])).status == 404
    assert (await refresh(auth, first["refresh_token"])).status == 401


async def test_somebody_elses_session_is_not_found(auth: Auth) -> None:
    ada = await registered(auth)
    eve = await registered(auth, "eve@example.test")
    for session_id in (ada["session_id"], new_id(), "x", "%00", ada["session_id"] + "%0A"):
        answer = await auth("DELETE", f"/v1/auth/sessions/{session_id}", token=eve["access_token"])
        assert (answer.status, answer.code) == (404, "not-found"), session_id
    assert (await refresh(auth, ada["refresh_token"])).status == 200


async def test_changing_the_password_ends_the_other_sessions(auth: Auth) -> None:
    first = await registered(auth)
    second = (await log_in(auth)).json
    change = {"current_password": PASSWORD, "new_password": "another staple, quite correct"}
    answer = await auth("POST", "/v1/auth/password/change", change, token=second["access_token"])
    assert answer.status == 204
    assert (await refresh(auth, first["refresh_token"])).status == 401
    assert (await refresh(auth, second["refresh_token"])).status == 200
    assert (await log_in(auth)).status == 401
    assert (await log_in(auth, password=change["new_password"])).status == 200


async def test_a_password_is_not_changed_without_the_present_one(auth: Auth) -> None:
    tokens = await registered(auth)
    path, token = "/v1/auth/password/change", tokens["access_token"]
    wrong = await auth("POST", path, {"current_password": "wrong", "new_password": "long enough 1"}, token=token)
    assert (wrong.status, wrong.code) == (401, "credentials-wrong")
    weak = await auth("POST", path, {"current_password": PASSWORD, "new_password": "12345678"}, token=token)
    assert (weak.status, weak.json["errors"][0]["pointer"]) == (422, "/new_password")
    assert (await log_in(auth)).status == 200


async def test_a_password_of_other_parameters_is_hashed_anew_at_login(auth: Auth) -> None:
    await registered(auth)
    old = Passwords(memory_kib=8 * 1024, passes=1)
    database = auth.foundation.database
    await database.execute("UPDATE account SET password_hash = $1", await old.hash(PASSWORD))
    old.close()
    assert (await log_in(auth)).status == 200
    assert "m=19456,t=2,p=1" in await database.value("SELECT password_hash FROM account")
    assert (await log_in(auth)).status == 200


async def test_forged_tokens_are_refused(auth: Auth, keys: Keys, tmp_path: Path) -> None:
    tokens = await registered(auth)
    good = tokens["access_token"]
    header, payload, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    stranger = Keys(tmp_path / "..", kid="k1-stranger")
    headers = {"kid": "k1", "typ": "at+jwt"}
    raised = jwt.encode({**claims, "roles": ["admin"]}, "x" * 32, algorithm="HS256", headers=headers)
    forged = {
        "no token": "",
        "nonsense": "nonsense",
        "unsigned": jwt.encode(claims, None, algorithm="none", headers=headers),
        "symmetric": raised,
        "unknown key": stranger.token(claims["sub"]),
        "known kid, other key": TokenLike(stranger, "k1").token(claims),
        "changed payload": f"{header}.{raised.split('.')[1]}.{signature}",
        "cut": f"{header}.{payload}.",
        "expired": keys.signer.sign({**claims, "exp": claims["iat"] - 60, "iat": claims["iat"] - 660}),
        "other audience": keys.signer.sign({**claims, "aud": "elsewhere"}),
        "other issuer": keys.signer.sign({**claims, "iss": "elsewhere"}),
        "other type": keys.signer.sign(claims, token_type="JWT"),
        "no user": keys.signer.sign({**claims, "sub": "x' OR 1=1"}),
    }
    for what, token in forged.items():
        answer = await auth("GET", "/v1/auth/sessions", token=token)
        assert answer.status == 401, what
        assert "www-authenticate" in answer.headers, what
    assert (await auth("GET", "/v1/auth/sessions")).code == "token-missing"
    assert (await auth("GET", "/v1/auth/sessions", headers={"authorization": f"Basic {good}"})).status == 401
    assert (await auth("GET", "/v1/auth/sessions", token=good)).status == 200


class TokenLike:
    """Signs with one key under the name of another."""

    def __init__(self, keys: Keys, kid: str) -> None:
        self._key, self._kid = keys.key.pem, kid

    def token(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._kid, "typ": "at+jwt"})


async def test_a_new_name_is_in_the_next_token(auth: Auth) -> None:
    tokens = await registered(auth)
    user_id = tokens["user"]["id"]
    await auth.hear(UserProfileChanged(user_id=user_id, name="Countess"), subject=user_id, version=2)
    await auth.hear(UserProfileChanged(user_id=user_id, name="Ada K."), subject=user_id, version=1)
    answer = await refresh(auth, tokens["refresh_token"])
    assert answer.json["user"]["name"] == "Countess"
    assert jwt.decode(answer.json["access_token"], options={"verify_signature": False})["name"] == "Countess"


async def test_what_is_not_built_yet_is_absent(auth: Auth) -> None:
    tokens = await registered(auth)
    for path in ("/v1/auth/mfa/totp", "/v1/auth/email/verify", "/v1/auth/password/forgot", "/oauth2/token"):
        assert (await auth("POST", path, {}, token=tokens["access_token"])).status == 404
