"""Mutual TLS in the mesh: who gets a certificate, whom it opens the door to, and what is refused with which cause."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.mesh_lab import SECRET, Lab, mesh_lab, until
from tests.integration.mesh_rooms import ADDRESS, rooms
from tradewind.chassis.tls import Credentials, TlsIdentity
from tradewind.mesh.ca import CertificateAuthority, new_root
from tradewind.mesh.identity import PROXY, operator_token, proxy_token, room_token, spiffe_id
from tradewind.mesh.room_certificate import RoomCertificate
from tradewind.mesh.signing_request import new_key_pair
from tradewind.mesh.state_file import StateFile


class FixedClock:
    """Stands still at a moment."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return 0.0


def forged(
    room: str, *, root: Path | None = None, trust: Path, now: datetime | None = None, accepts: str = PROXY
) -> ssl.SSLContext:
    """A client's context with a certificate made from the root in the file, or from a foreign one."""
    now = now or datetime.now(UTC)
    if root is None:
        root = trust.with_name("foreign.pem")
        root.write_bytes(new_root(now))
    made = CertificateAuthority.open(StateFile(root), lifetime_s=60, clock=FixedClock(now), make=False)
    pair = new_key_pair()
    issued = made.issue(pair.request, room)
    own = CertificateAuthority.open(StateFile(trust), lifetime_s=60, clock=FixedClock(now), make=False)
    identity = TlsIdentity([spiffe_id(accepts)])
    identity.load(
        Credentials(certificate=issued.certificate.encode(), private_key=pair.private_key, trust=own.trust.encode())
    )
    return identity.client


async def status(url: str, tls: ssl.SSLContext | bool = True, host: str = "user-service") -> tuple[int, Any]:
    """What a request gets; (0, the error) when no answer came."""
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=tls)) as session:
        try:
            async with session.get(url, headers={"host": host}) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            return 0, str(exc) or type(exc).__name__


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with mesh_lab(tmp_path, mtls="strict") as lab:
        yield lab


async def test_a_call_reaches_a_service_through_both_legs_and_names_its_caller(lab: Lab) -> None:
    async with rooms(lab, "order", "user"):
        spoofed = {
            "x-tradewind-caller": "spiffe://tradewind/payment",
            "x-forwarded-client-cert": "URI=spiffe://tradewind/payment",
        }
        async with lab.session.get(f"{lab.edge}/v1/order/echo", headers=spoofed) as answer:
            assert answer.status == 200, lab.log
            from_outside = await answer.json()
        assert "x-tradewind-caller" not in from_outside
        assert "x-forwarded-client-cert" not in from_outside
        async with lab.session.get(f"{lab.edge}/v1/order/ask") as answer:
            assert answer.status == 200, await answer.text()
            from_order = await answer.json()
        assert from_order["x-tradewind-caller"] == "spiffe://tradewind/order"
        assert from_order["x-forwarded-client-cert"].endswith(";URI=spiffe://tradewind/order")
        assert "payment" not in from_order["x-forwarded-client-cert"]


async def test_what_the_policy_does_not_name_is_forbidden(lab: Lab) -> None:
    async with rooms(lab, "order", "user"):
        root = lab.folder / "state" / "ca.pem"
        egress = lab.egress.replace("http:", "https:")
        order, payment = (forged(room, root=root, trust=root) for room in ("order", "payment"))
        assert (await status(egress + ADDRESS + "a-1", order))[0] == 200
        for path, caller, host in (
            (ADDRESS + "a-1", payment, "user-service"),
            ("/v1/user/echo", order, "user-service"),
            (ADDRESS + "a-1/more", order, "user-service"),
            ("/v1/order/echo", order, "order-service"),
            ("/.well-known/jwks.json", order, "gateway-service"),
        ):
            found, problem = await status(egress + path, caller, host)
            assert (found, problem["code"]) == (403, "call-not-allowed"), path
        assert (await status(egress + ADDRESS + "a%2F..%2F..%2Fecho", order))[0] == 400
        await until(lambda: "rbac_access_denied" in lab.access_log.read_text(), "the access log")
        refused = [json.loads(line) for line in lab.access_log.read_text().splitlines() if "rbac_access" in line]
        assert {line["caller"] for line in refused} == {"spiffe://tradewind/order", "spiffe://tradewind/payment"}


async def test_the_egress_takes_nobody_without_a_certificate_of_ours(lab: Lab) -> None:
    async with rooms(lab, "user"):
        root = lab.folder / "state" / "ca.pem"
        url = lab.egress.replace("http:", "https:") + ADDRESS + "a-1"
        nobody = ssl.create_default_context()
        nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
        old = forged("order", root=root, trust=root, now=datetime.now(UTC) - timedelta(hours=1))
        assert (await status(lab.egress + ADDRESS + "a-1"))[0] == 0, "plain"
        assert (await status(url, nobody))[0] == 0, "without a certificate"
        assert (await status(url, forged("order", trust=root)))[0] == 0, "a foreign authority's"
        assert (await status(url, old))[0] == 0, "an expired one"
        assert (await status(url, forged("order", root=root, trust=root)))[0] == 200

        def causes() -> bool:
            text = lab.access_log.read_text()
            return "PEER_DID_NOT_RETURN_A_CERTIFICATE" in text and "CERTIFICATE_VERIFY_FAILED" in text

        await until(causes, f"the access log to name the causes: {lab.access_log.read_text()}", patience_s=6)


async def test_a_service_takes_nobody_but_the_proxy(lab: Lab) -> None:
    async with rooms(lab, "user") as (user,):
        root = lab.folder / "state" / "ca.pem"
        url = f"https://127.0.0.1:{user.port}{ADDRESS}a-1"
        nobody = ssl.create_default_context()
        nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
        old = datetime.now(UTC) - timedelta(hours=1)
        assert (await status(url.replace("https:", "http:")))[0] == 0
        assert (await status(url, nobody))[0] == 0
        assert (await status(url, forged(PROXY, trust=root, accepts="user")))[0] == 0
        assert (await status(url, forged(PROXY, root=root, trust=root, accepts="user", now=old)))[0] == 0
        assert (await status(url, forged("order", root=root, trust=root, accepts="user")))[0] == 0
        assert (await status(url, forged(PROXY, root=root, trust=root, accepts="user")))[0] == 200
        for cause in (
            "HTTP_REQUEST",
            "PEER_DID_NOT_RETURN_A_CERTIFICATE",
            "unable to get local issuer certificate",
            "certificate has expired",
            "this is spiffe://tradewind/order, not spiffe://tradewind/envoy",
        ):
            assert cause in user.log, cause


async def test_the_proxy_sends_nothing_to_who_shows_another_rooms_certificate(lab: Lab) -> None:
    """An instance can only be registered with its room's token; what answers at its address must be that room too."""
    async with rooms(lab, "user", "payment") as (user, payment):
        await user.stop()
        route = {"path": f"{ADDRESS}{{id}}", "methods": ["GET"]}
        await lab.register("user-9", payment.port, route)
        async with lab.session.get(f"{lab.edge}{ADDRESS}a-1") as answer:
            assert answer.status == 503
            assert (await answer.json())["code"] == "upstream-unavailable"
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in lab.access_log.read_text(), "the cause in the access log")


async def ask(lab: Lab, method: str, path: str, token: str | None, body: object = None) -> tuple[int, str]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with lab.session.request(method, lab.control + path, json=body, headers=headers) as answer:
        return answer.status, (await answer.text())[:200]


async def test_a_rogue_on_loopback_is_told_nothing_and_changes_nothing(lab: Lab) -> None:
    before = await lab.status()
    csr = {"room": "order", "request": new_key_pair().request.decode()}
    poll = {"node": {"id": "envoy"}, "version_info": ""}
    for token, refusal in (
        (None, 401),
        ("0" * 64, 403),
        (room_token(SECRET, "user"), 403),
        (operator_token(SECRET), 403),
    ):
        for kind in ("clusters", "endpoints", "routes"):
            assert (await ask(lab, "POST", f"/v3/discovery:{kind}", token, poll))[0] == refusal
        assert (await ask(lab, "POST", "/v1/certificates", token, csr))[0] == refusal
    for token, refusal in ((None, 401), ("0" * 64, 403), (proxy_token(SECRET), 403)):
        assert (await ask(lab, "GET", "/v1/mesh", token))[0] == refusal
        assert (await ask(lab, "GET", "/v1/instances", token))[0] == refusal
    assert (await lab.status())["services"] == before["services"]
    # Whoever proves to be a room gets that room's name, and no other.
    assert (await ask(lab, "POST", "/v1/certificates", room_token(SECRET, "order"), csr))[0] == 201
    proxy = {**csr, "room": PROXY}
    assert (await ask(lab, "POST", "/v1/certificates", room_token(SECRET, PROXY), proxy))[0] == 403
    broken = {**csr, "request": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"}
    assert (await ask(lab, "POST", "/v1/certificates", room_token(SECRET, "order"), broken))[0] == 422


async def test_certificates_are_renewed_under_traffic_without_a_failed_request(tmp_path: Path) -> None:
    """Four seconds each, so that every side renews several times, and connections are made anew all the while."""
    async with mesh_lab(tmp_path, mtls="strict", certificate_lifetime_s=4) as lab, rooms(lab, "order", "user") as found:
        failed: list[str] = []
        done = 0

        def renewals(log: str) -> int:
            return log.count("a new certificate")

        before = [renewals(room.log) for room in found], renewals(lab.log)

        async def drive() -> None:
            nonlocal done
            while not enough.is_set():
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"{lab.edge}/v1/order/ask") as answer,
                ):
                    done += 1
                    if answer.status != 200:
                        failed.append(f"{answer.status} {await answer.text()}")

        def renewed() -> bool:
            rooms_too = all(renewals(room.log) >= was + 3 for room, was in zip(found, before[0], strict=True))
            return rooms_too and renewals(lab.log) >= before[1] + 3

        enough = asyncio.Event()
        drivers = [asyncio.create_task(drive()) for _ in range(4)]
        await until(renewed, "three renewals of each")
        enough.set()
        await asyncio.gather(*drivers)
        assert failed == [], failed[:3]
        assert done > 100


async def test_a_room_waits_for_its_certificate_until_the_authority_is_there(tmp_path: Path, lab: Lab) -> None:
    await lab.stop()
    certificate = RoomCertificate(lab.control, room_token(SECRET, "order"), "order")
    waiting = asyncio.create_task(certificate.obtain())
    await lab.start()
    async with asyncio.timeout(10):
        await waiting
    assert (tmp_path / "state" / "ca.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state" / "identity" / "identity.json").stat().st_mode & 0o777 == 0o600
