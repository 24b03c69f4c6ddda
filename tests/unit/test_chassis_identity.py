"""Tokens: what is let in, and every forgery we could think of, refused with one stable code."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.chassis.clock import ManualClock
from tradewind.chassis.errors import Unauthenticated, Unavailable
from tradewind.chassis.identity import LEEWAY_S, Caller, TokenVerifier
from tradewind.chassis.jwks import KeySetUnavailable
from tradewind.chassis.signing import KeysFileError, SigningKey, TokenSigner, keys_file, new_signing_key

START = datetime(2026, 3, 1, tzinfo=UTC)
SUBJECT = "0192d2f1-5c2e-7cc5-8e6f-2f6f5a0f1c11"
KEY_A, KEY_B = (new_signing_key(kid) for kid in ("a", "b"))


class Published:
    """A key source whose content and presence the test decides, and which counts how often it is asked."""

    def __init__(self, *keys: SigningKey) -> None:
        self.document: object = TokenSigner(keys[0].kid, keys).jwks() if keys else {"keys": []}
        self.away = False
        self.asked = 0
        self.gate: asyncio.Event | None = None

    async def fetch(self) -> bytes:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise KeySetUnavailable("away")
        return msgspec.json.encode(self.document)

    async def close(self) -> None:
        pass


def claims(**changes: object) -> dict[str, object]:
    now_s = int(START.timestamp())
    found: dict[str, object] = {
        "iss": "tradewind",
        "aud": "tradewind",
        "sub": SUBJECT,
        "email": "ada@example.test",
        "name": "Ada",
        "roles": ["customer"],
        "sid": "s-1",
        "iat": now_s,
        "exp": now_s + 600,
        "jti": "j-1",
    }
    found |= changes
    return {key: value for key, value in found.items() if value is not None}


def token_of(key: SigningKey = KEY_A, **changes: object) -> str:
    return TokenSigner(key.kid, [key]).sign(claims(**changes))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def published() -> Published:
    return Published(KEY_A)


@pytest.fixture
def verifier(published: Published, clock: ManualClock) -> TokenVerifier:
    return TokenVerifier(published, clock=clock)


async def refused(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    assert caught.value.headers["www-authenticate"].startswith("Bearer")
    return caught.value.code


async def test_a_valid_token_names_its_caller(verifier: TokenVerifier, published: Published) -> None:
    token = token_of(roles=["support", "customer"])
    caller = await verifier.verify(token)
    assert caller == Caller(
        subject=SUBJECT,
        email="ada@example.test",
        name="Ada",
        roles=frozenset({"support", "customer"}),
        session_id="s-1",
        token=token,
    )
    assert caller.has("support")
    assert caller.has("finance", "support")
    assert not caller.has("finance")
    assert token not in repr(caller)
    assert await verifier.verify(token) is caller
    assert published.asked == 1


async def test_admin_has_every_role(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(token_of(roles=["admin"]))).has("finance")


async def test_a_service_may_leave_out_what_only_people_have(verifier: TokenVerifier) -> None:
    caller = await verifier.verify(token_of(email=None, name=None, roles=None, sid=None))
    assert (caller.email, caller.roles, caller.session_id) == ("", frozenset(), "")


async def test_audience_may_be_a_list(verifier: TokenVerifier) -> None:
    await verifier.verify(token_of(aud=["other", "tradewind"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "evil"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"aud": []},
        {"sub": None},
        {"sub": "admin"},
        {"sub": SUBJECT.upper()},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": None},
        {"jti": None},
        {"roles": "admin"},
        {"roles": [1]},
        {"nbf": int(START.timestamp()) + 60},
        {"iat": int(START.timestamp()) + 60},
        {"email": 7},
    ],
)
async def test_wrong_claims_are_refused(verifier: TokenVerifier, changes: dict[str, object]) -> None:
    assert await refused(verifier, token_of(**changes)) == "token-invalid"


async def test_expiry_is_judged_by_our_clock(verifier: TokenVerifier, clock: ManualClock) -> None:
    token = token_of()
    await verifier.verify(token)
    clock.advance(600 + LEEWAY_S - 1)
    await verifier.verify(token)
    await verifier.verify(token_of(jti="seen for the first time"))
    clock.advance(1)
    for _ in range(2):
        assert await refused(verifier, token) == "token-expired"
    assert await refused(verifier, token_of(jti="j-3")) == "token-expired"


def b64(data: bytes | dict) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public_pem(key: SigningKey) -> bytes:
    private = serialization.load_pem_private_key(key.pem.encode(), None)
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def forged_none() -> str:
    return f"{b64({'alg': 'none', 'typ': 'at+jwt', 'kid': 'a'})}.{b64(claims())}."


def forged_none_with_signature() -> str:
    return forged_none() + token_of().rsplit(".", 1)[1]


def forged_hs256_with_the_public_key() -> str:
    signed = f"{b64({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'a'})}.{b64(claims())}"
    return f"{signed}.{b64(hmac.new(public_pem(KEY_A), signed.encode(), hashlib.sha256).digest())}"


def forged_es256_header_over_hs256() -> str:
    signed = f"{b64({'alg': 'ES256', 'typ': 'at+jwt', 'kid': 'a'})}.{b64(claims())}"
    return f"{signed}.{b64(hmac.new(public_pem(KEY_A), signed.encode(), hashlib.sha256).digest())}"


def forged_with_another_key_under_our_kid() -> str:
    return TokenSigner("a", [SigningKey("a", KEY_B.pem)]).sign(claims())


def forged_with_an_unknown_kid() -> str:
    return token_of(KEY_B)


def forged_with_its_own_key_inside() -> str:
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key()))
    return jwt.encode(claims(), private, "ES256", {"typ": "at+jwt", "kid": "a", "jwk": jwk, "jku": "http://evil.test"})


def forged_rs256() -> str:
    private = rsa.generate_private_key(65537, 2048)
    return jwt.encode(claims(), private, "RS256", {"typ": "at+jwt", "kid": "a"})


def forged_by_changing_the_payload() -> str:
    head, _, signature = token_of().split(".")
    return f"{head}.{b64(claims(roles=['admin']))}.{signature}"


def forged_zero_signature() -> str:
    # CVE-2022-21449: r = s = 0 was a valid signature for anything in some Java versions.
    return f"{token_of().rsplit('.', 1)[0]}.{b64(bytes(64))}"


def wrong_type() -> str:
    return TokenSigner("a", [KEY_A]).sign(claims(), token_type="JWT")


def no_type() -> str:
    private = serialization.load_pem_private_key(KEY_A.pem.encode(), None)
    return jwt.encode(claims(), private, "ES256", {"kid": "a", "typ": None})


def no_kid() -> str:
    private = serialization.load_pem_private_key(KEY_A.pem.encode(), None)
    return jwt.encode(claims(), private, "ES256", {"typ": "at+jwt"})


def kid_of_another_type() -> str:
    return f"{b64({'alg': 'ES256', 'typ': 'at+jwt', 'kid': ['a']})}.{b64(claims())}.{b64(bytes(64))}"


def unknown_critical_header() -> str:
    private = serialization.load_pem_private_key(KEY_A.pem.encode(), None)
    return jwt.encode(claims(), private, "ES256", {"typ": "at+jwt", "kid": "a", "crit": ["exp"], "exp": 1})


def huge() -> str:
    return token_of(name="x" * 10_000)


@pytest.mark.parametrize(
    "make",
    [
        forged_none,
        forged_none_with_signature,
        forged_hs256_with_the_public_key,
        forged_es256_header_over_hs256,
        forged_with_another_key_under_our_kid,
        forged_with_an_unknown_kid,
        forged_with_its_own_key_inside,
        forged_rs256,
        forged_by_changing_the_payload,
        forged_zero_signature,
        wrong_type,
        no_type,
        no_kid,
        kid_of_another_type,
        unknown_critical_header,
        huge,
        lambda: "",
        lambda: "..",
        lambda: "a.b.c",
        lambda: "a" * 10_000,
        lambda: token_of() + "x",
        lambda: token_of() + ".x",
        lambda: f"{b64(b'[]')}.{b64(b'{}')}.",
        lambda: f"{b64(b'null')}.{b64(b'{}')}.",
        lambda: "é.ü.\ud800",
    ],
)
async def test_a_forged_token_is_refused(verifier: TokenVerifier, make) -> None:
    assert await refused(verifier, make()) == "token-invalid"


async def test_the_public_type_may_be_written_as_a_media_type(verifier: TokenVerifier) -> None:
    token = TokenSigner("a", [KEY_A]).sign(claims(), token_type="application/AT+JWT")
    await verifier.verify(token)


@settings(max_examples=200)
@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=200) | st.from_regex(r"\A[\w-]{0,40}(\.[\w-]{0,40}){2}\Z")
)
def test_garbage_is_refused_and_breaks_nothing(text: str) -> None:
    async def run() -> None:
        assert await refused(TokenVerifier(Published(KEY_A), clock=ManualClock(START)), text) == "token-invalid"

    asyncio.run(run())


async def test_any_bit_turned_is_noticed(verifier: TokenVerifier) -> None:
    token = token_of()
    head, payload, signature = token.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    for position in range(0, 512, 37):
        turned = bytearray(raw)
        turned[position // 8] ^= 1 << position % 8
        assert await refused(verifier, f"{head}.{payload}.{b64(bytes(turned))}") == "token-invalid"


async def test_a_new_key_is_found_by_its_kid(verifier: TokenVerifier, published: Published, clock: ManualClock) -> None:
    await verifier.verify(token_of())
    published.document = TokenSigner("b", [KEY_A, KEY_B]).jwks()
    clock.advance(1)
    await verifier.verify(token_of(KEY_B))
    assert published.asked == 2


async def test_unknown_kids_do_not_make_us_ask_more_than_once_a_second(
    verifier: TokenVerifier, published: Published, clock: ManualClock
) -> None:
    await verifier.verify(token_of())
    for _ in range(50):
        assert await refused(verifier, token_of(KEY_B)) == "token-invalid"
    assert published.asked == 1
    clock.advance(1)
    for _ in range(50):
        assert await refused(verifier, token_of(KEY_B)) == "token-invalid"
    assert published.asked == 2


async def test_all_who_wait_share_one_fetch_and_one_may_leave(verifier: TokenVerifier, published: Published) -> None:
    published.gate = asyncio.Event()
    waiting = [asyncio.create_task(verifier.verify(token_of(jti=f"j-{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    published.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(result, Caller) for result in results[1:])
    assert published.asked == 1


async def test_known_keys_outlive_their_server(
    verifier: TokenVerifier, published: Published, clock: ManualClock
) -> None:
    await verifier.verify(token_of())
    published.away = True
    for number in range(5):
        clock.advance(100)
        await verifier.verify(token_of(jti=f"j-{number}"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert published.asked > 1


async def test_without_keys_nobody_is_judged(verifier: TokenVerifier, published: Published, clock: ManualClock) -> None:
    published.away = True
    for _ in range(5):
        with pytest.raises(Unavailable) as caught:
            await verifier.verify(token_of())
        assert caught.value.code == "keys-unavailable"
    assert published.asked == 1
    published.away = False
    clock.advance(1)
    await verifier.verify(token_of())


async def test_a_key_taken_back_is_forgotten_with_all_it_signed(
    verifier: TokenVerifier, published: Published, clock: ManualClock
) -> None:
    published.document = TokenSigner("b", [KEY_A, KEY_B]).jwks()
    old, new = token_of(), token_of(KEY_B)
    await verifier.verify(old)
    await verifier.verify(new)
    published.document = TokenSigner("b", [KEY_B]).jwks()
    clock.advance(61)
    await verifier.verify(token_of(KEY_B, jti="j-9"))  # this use starts the refresh
    async with asyncio.timeout(5):
        while True:
            try:
                await verifier.verify(old)
            except Unauthenticated as refusal:
                assert refusal.code == "token-invalid"
                break
            await asyncio.sleep(0)
    await verifier.verify(new)


@pytest.mark.parametrize(
    "document",
    [
        {"keys": []},
        {"keys": [{"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "AA", "y": "AA"}]},
        {"nothing": 1},
        [],
        "x",
    ],
)
async def test_a_broken_key_set_does_not_replace_a_good_one(
    verifier: TokenVerifier, published: Published, clock: ManualClock, document: object
) -> None:
    await verifier.verify(token_of())
    published.document = document
    clock.advance(61)
    with pytest.raises(Unavailable):
        await verifier.verify(token_of(KEY_B))
    await verifier.verify(token_of(jti="j-2"))


async def test_the_memory_of_verified_tokens_is_bounded(published: Published, clock: ManualClock) -> None:
    verifier = TokenVerifier(published, clock=clock, max_cached=3)
    tokens = [token_of(jti=f"j-{number}") for number in range(4)]
    first = await verifier.verify(tokens[0])
    for token in tokens[1:3]:
        await verifier.verify(token)
    assert await verifier.verify(tokens[0]) is first  # used again, so not the oldest any more
    await verifier.verify(tokens[3])
    assert await verifier.verify(tokens[0]) is first
    assert len(verifier._verified) == 3
    assert tokens[1] not in verifier._verified


async def test_a_signer_is_its_own_source_of_keys() -> None:
    signer = TokenSigner("b", [KEY_A, KEY_B])
    verifier = TokenVerifier(signer, clock=ManualClock(START))
    await verifier.verify(signer.sign(claims()))
    document = signer.jwks()
    assert [key["kid"] for key in document["keys"]] == ["a", "b"]
    assert all(set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"} for key in document["keys"])
    await verifier.close()


def test_a_keys_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(keys_file("b", [KEY_A, KEY_B]))
    signer = TokenSigner.load(path)
    assert signer.active == "b"
    assert jwt.get_unverified_header(signer.sign(claims())) == {"alg": "ES256", "typ": "at+jwt", "kid": "b"}
    assert KEY_A.pem not in repr(KEY_A)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{}",
        keys_file("missing", [KEY_A]),
        keys_file("a", [KEY_A, KEY_A]),
        keys_file("a", [SigningKey("a", "not a key at all")]),
        keys_file("a", [SigningKey("a", public_pem(KEY_A).decode())]),
    ],
)
def test_a_wrong_keys_file_stops_the_start_and_says_why(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeysFileError) as caught:
        TokenSigner.load(path)
    assert "PRIVATE" not in str(caught.value)


def test_only_p256_keys_sign() -> None:
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(KeysFileError, match="P-256"):
        TokenSigner("x", [SigningKey("x", other.decode())])


def kids_of(signer: TokenSigner) -> set[str]:
    return {key["kid"] for key in signer.jwks()["keys"]}


def test_a_key_that_has_retired_is_published_no_more_and_the_active_one_never_retires(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(keys_file("a", [KEY_A]))
    signer = TokenSigner.load(path)
    retiring = msgspec.structs.replace(KEY_A, retires_at=1_000)
    path.write_bytes(keys_file("b", [retiring, msgspec.structs.replace(KEY_B, retires_at=1)]))
    signer.reload(path, 999.0)
    assert (signer.active, kids_of(signer)) == ("b", {"a", "b"})
    signer.reload(path, 1_000.0)
    assert (signer.active, kids_of(signer)) == ("b", {"b"})


def test_a_file_that_cannot_be_used_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(keys_file("a", [KEY_A]))
    signer = TokenSigner.load(path)
    for content in (b"", b"{", b'{"active": "\xff"}', keys_file("missing", [KEY_B]), keys_file("b", [KEY_B, KEY_B])):
        path.write_bytes(content)
        with pytest.raises(KeysFileError):
            signer.reload(path, 0.0)
        assert (signer.active, kids_of(signer)) == ("a", {"a"})
    path.unlink()
    with pytest.raises(KeysFileError):
        signer.reload(path, 0.0)
