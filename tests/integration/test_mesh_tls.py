"""The TLS port of the edge: who may speak it, what it says, and that a renewed certificate costs no request."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.integration.mesh_lab import Echo, Lab, free_ports, mesh_lab, until
from tradewind.chassis.settings import SettingsError, load
from tradewind.mesh import certificates, edge_certificate
from tradewind.mesh.edge_certificate import CertificateFiles, CertificateUnusable, prepare
from tradewind.services.gateway.settings import GatewaySettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN = {"path": "/v1/open", "methods": ["GET"]}


def made(folder: Path) -> CertificateFiles:
    """A certificate with a CA of its own, as somebody else would bring it."""
    prepare(folder, None)
    return CertificateFiles(chain=folder / "edge.pem", key=folder / "edge-key.pem")


def trusting(ca: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(list(protocols or ("http/1.1",)))
    return context


@pytest.fixture(scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """A lab with a given certificate, in `folder / "given"`."""
    folder = tmp_path_factory.mktemp("tls")
    given = made(folder / "given")
    (port,) = free_ports(1)
    async with (
        Echo("order-1").running() as echo,
        mesh_lab(folder, tls_port=port, tls_cert_file=given.chain, tls_key_file=given.key) as lab,
    ):
        lab.tls_port = port
        await lab.register("order-1", echo.port, OPEN)
        yield lab


async def serial(port: int, context: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new connection sees."""
    _, writer = await asyncio.open_connection("localhost", port, ssl=context)
    try:
        raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(raw).serial_number
    finally:
        writer.close()


async def test_it_serves_what_the_plain_port_serves_and_says_hsts(lab: Lab) -> None:
    context = trusting(lab.folder / "given/ca.pem")
    async with lab.session.get(f"https://localhost:{lab.tls_port}/v1/open", ssl=context) as answer:
        assert answer.status == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert (await answer.json())["headers"]["x-forwarded-proto"] == "https"
    async with lab.session.get(f"https://localhost:{lab.tls_port}/nothing", ssl=context) as answer:
        assert (answer.status, answer.headers["strict-transport-security"]) == (404, "max-age=31536000")
    async with lab.session.get(f"{lab.edge}/v1/open") as answer:
        assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
async def test_the_client_chooses_http_2_or_1(lab: Lab, protocol: str) -> None:
    context = trusting(lab.folder / "given/ca.pem", protocol)
    _, writer = await asyncio.open_connection("localhost", lab.tls_port, ssl=context)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == protocol
    writer.close()


async def test_what_is_older_than_tls_1_2_is_refused(lab: Lab) -> None:
    context = trusting(lab.folder / "given/ca.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("localhost", lab.tls_port, ssl=context)


async def test_http_2_is_spoken_on_the_plain_port_too(lab: Lab) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    head = await reader.readexactly(9)
    assert head[3] == 4  # SETTINGS
    writer.close()


async def test_a_renewed_certificate_is_taken_under_traffic_without_a_failure(lab: Lab, tmp_path: Path) -> None:
    given = lab.folder / "given"
    context = trusting(given / "ca.pem")
    before = await serial(lab.tls_port, context)
    shutil.copy(given / "ca.pem", tmp_path)
    shutil.copy(given / "ca-key.pem", tmp_path)
    renewed = made(tmp_path)
    failures: list[str] = []
    done = 0
    over = asyncio.Event()

    async def traffic(keep: bool) -> None:
        nonlocal done
        headers = {} if keep else {"connection": "close"}
        while not over.is_set():
            try:
                url = f"https://localhost:{lab.tls_port}/v1/open"
                async with lab.session.get(url, ssl=context, headers=headers) as answer:
                    await answer.read()
                    if answer.status != 200:
                        failures.append(str(answer.status))
            except Exception as exc:
                failures.append(repr(exc))
            done += 1

    clients = [asyncio.create_task(traffic(keep)) for keep in (True, True, False, False)]
    try:
        await until(lambda: done > 50, "some traffic")
        renewed.key.replace(given / "edge-key.pem")
        renewed.chain.replace(given / "edge.pem")

        async def taken() -> bool:
            return await serial(lab.tls_port, context) != before

        await until(taken, "the new certificate")
        at = done
        await until(lambda: done > at + 50, "traffic on it")
    finally:
        over.set()
        await asyncio.gather(*clients)
    assert failures == []


async def test_a_laptop_makes_its_own_and_keeps_the_key_to_itself(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with mesh_lab(tmp_path, tls_port=port) as lab:
        folder = tmp_path / "state/tls"
        context = trusting(folder / "ca.pem")
        for name in ("localhost", "127.0.0.1"):
            async with lab.session.get(f"https://{name}:{port}/openapi.json", ssl=context) as answer:
                assert answer.status == 200
                assert "strict-transport-security" not in answer.headers
        assert {path.name for path in folder.iterdir()} == {
            "ca.pem", "ca-key.pem", "edge.pem", "edge-key.pem", "secret.json",
        }  # fmt: skip
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        async with lab.session.get(f"{lab.management}/metrics") as answer:
            text = await answer.text()
        (line,) = [line for line in text.splitlines() if line.startswith("mesh_edge_certificate_expiry")]
        left = datetime.fromtimestamp(float(line.split()[-1]), UTC) - datetime.now(UTC)
        assert timedelta(days=80) < left < timedelta(days=91)


async def test_ours_is_made_anew_before_it_ends_by_the_same_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(edge_certificate, "DAYS", edge_certificate.RENEW_BEFORE_DAYS - 1)
        soon_over = prepare(tmp_path, None)
    ca = (tmp_path / "ca.pem").read_bytes()
    assert prepare(tmp_path, None) > soon_over
    kept = (tmp_path / "edge.pem").read_bytes()
    prepare(tmp_path, None)
    assert (tmp_path / "edge.pem").read_bytes() == kept
    assert (tmp_path / "ca.pem").read_bytes() == ca


async def test_files_that_cannot_be_served_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    with pytest.raises(CertificateUnusable, match=r"b/edge-key\.pem is not the key of .*a/edge\.pem"):
        prepare(tmp_path, CertificateFiles(chain=first.chain, key=second.key))
    with pytest.raises(CertificateUnusable, match=r"none\.pem cannot be read: No such file"):
        prepare(tmp_path, CertificateFiles(chain=tmp_path / "none.pem", key=first.key))
    with pytest.raises(CertificateUnusable, match="no PEM certificate"):
        prepare(tmp_path, CertificateFiles(chain=first.key, key=first.key))
    monkeypatch.setattr(edge_certificate, "DAYS", -1)
    monkeypatch.setattr(certificates, "CLOCK_SLACK", timedelta(days=2))
    with pytest.raises(CertificateUnusable, match=r"edge\.pem expired at 20"):
        prepare(tmp_path / "c", None)


async def test_a_certificate_without_its_key_stops_the_start(tmp_path: Path) -> None:
    environ = {
        "GATEWAY_CONTROL_PORT": "1", "GATEWAY_EGRESS_PORT": "2", "GATEWAY_ENVOY_ADMIN_PORT": "3",
        "GATEWAY_STATE_DIR": str(tmp_path), "GATEWAY_REGISTRY_SECRET": "x", "GATEWAY_TLS_CERT_FILE": "a.pem",
    }  # fmt: skip
    with pytest.raises(SettingsError, match="GATEWAY_TLS_KEY_FILE: missing"):
        load(GatewaySettings, environ)
