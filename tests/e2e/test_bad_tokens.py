"""Tokens that were not given out, and headers that claim what only a token may: 401, 403, and nothing is stored."""

from __future__ import annotations

import base64
import time

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.edge import Edge
from tests.e2e.operations import BODIES
from tests.e2e.targets import Target
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.chassis.signing import TokenSigner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("nothing_is_stored")]


def _forged(platform: Platform, target: Target) -> dict[str, str]:
    """Tokens that claim to be an administrator's and were not given out."""
    genuine = target.admin
    head, payload, signature = genuine.split(".")
    claims = jwt.decode(genuine, options={"verify_signature": False})
    kid = jwt.get_unverified_header(genuine)["kid"]
    header = {"kid": kid, "typ": "at+jwt"}
    ours = TokenSigner.load(platform.keys_file)
    stranger = ec.generate_private_key(ec.SECP256R1())
    public = stranger.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    now = int(time.time())

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()

    return {
        "no algorithm": f"{part({**header, 'alg': 'none'})}.{payload}.",
        "no algorithm, capital": f"{part({**header, 'alg': 'None'})}.{payload}.",
        "no algorithm, signed": f"{part({**header, 'alg': 'none'})}.{payload}.{signature}",
        "HS256": jwt.encode(claims, "secret" * 8, "HS256", header),
        "HS256 with a public key": jwt.encode(claims, base64.b64encode(public), "HS256", header),
        "another key with our name": jwt.encode(claims, stranger, "ES256", header),
        "another key": jwt.encode(claims, stranger, "ES256", {"kid": "theirs"}),
        "a key of its own": jwt.encode(
            claims, stranger, "ES256", {"jwk": {"kty": "EC"}, "jku": "http://127.0.0.1/keys"}
        ),
        "expired": ours.sign({**claims, "iat": now - 700, "exp": now - 100}),
        "no expiry": ours.sign({name: value for name, value in claims.items() if name != "exp"}),
        "another audience": ours.sign({**claims, "aud": "somebody-else"}),
        "another issuer": ours.sign({**claims, "iss": "somebody-else"}),
        "another subject, same signature": f"{head}.{part({**claims, 'sub': target.customer.id})}.{signature}",
        "cut off": genuine[:-10],
        "one bit": genuine[:-20] + ("A" if genuine[-20] != "A" else "B") + genuine[-19:],
        "two parts": f"{head}.{payload}",
        "not a token": "admin",
        "empty": "",
        "long": "x" * 10_000,
    }


async def test_forged_tokens(platform: Platform, edge: Edge, target: Target) -> None:
    tokens = _forged(platform, target)
    faults = []
    for name, token in tokens.items():
        answer = await edge.ask("GET", "/v1/users", token=token)
        faults += [f"{name}: {fault}" for fault in answer.faults(401)]
        if answer.status == 401 and "www-authenticate" not in answer.headers:
            faults.append(f"{name}: no WWW-Authenticate")
    assert faults == [], "\n".join(faults)


async def test_every_secured_operation_wants_a_token(platform: Platform, edge: Edge, target: Target) -> None:
    secured = [operation for operation in target.operations if operation.secured]
    assert len(secured) > 30
    tokens = _forged(platform, target)
    faults = []
    for operation in secured:
        for headers in (
            {},
            {"authorization": f"Bearer {tokens['another key with our name']}"},
            {"authorization": f"Basic {target.admin}"},
            {"authorization": target.admin},
            {"cookie": f"access_token={target.admin}"},
            {"x-user-id": "root", "x-user-roles": "admin", "x-tradewind-subject": target.customer.id},
        ):
            path = operation.at(target.names, access_token=target.admin)
            body = msgspec.json.encode(BODIES[operation.name]) if operation.has_body else None
            sent = {**headers, "idempotency-key": new_id()}
            answer = await edge.ask(operation.method, path, headers=sent, data=body)
            faults += [f"{operation.name} with {list(headers)}: {fault}" for fault in answer.faults(401)]
    assert faults == [], "\n".join(faults)


SPOOFED = {
    "x-user-id": "00000000-0000-7000-8000-000000000001",
    "x-user-roles": "admin",
    "x-user-email": "admin@example.test",
    "x-tradewind-subject": "00000000-0000-7000-8000-000000000001",
    "x-tradewind-caller": "payment-service",
    "x-tradewind-timeout-ms": "1",
    "x-caller-service": "payment-service",
    "x-forwarded-client-cert": "By=spiffe://tradewind/order;URI=spiffe://tradewind/payment",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "internal",
    "x-real-ip": "10.0.0.1",
    "x-envoy-original-path": "/v1/users",
    "x-envoy-internal": "true",
    "x-original-url": "/v1/users",
    "x-rewrite-url": "/v1/users",
    "x-http-method-override": "DELETE",
    "x_user_roles": "admin",
    "x-request-id": "mine",
}


async def test_headers_that_claim_an_identity_give_none(edge: Edge, target: Target) -> None:
    customer = target.customer
    faults = []
    for operation in target.operations:
        if operation.roles:
            body = msgspec.json.encode(BODIES[operation.name]) if operation.has_body else None
            sent = {**SPOOFED, "idempotency-key": new_id()}
            answer = await edge.ask(
                operation.method, operation.at(target.names), token=customer.token, headers=sent, data=body
            )
            faults += [f"{operation.name}: {fault}" for fault in answer.faults(403)]
            if answer.headers["x-request-id"] == "mine":
                faults.append(f"{operation.name}: a client's request id")
    assert faults == [], "\n".join(faults)
    me = await edge.ask("GET", "/v1/users/me", token=customer.token, headers=SPOOFED)
    assert (me.status, me.body["id"]) == (200, customer.id)
