"""The public pages of the gateway: the merged document, and the page that renders it without any network."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mesh_lab import Echo, Lab, mesh_lab

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {},
    "tags": [{"name": "Orders", "description": "Orders & <b>more</b>"}],
    "paths": {
        "/v1/orders/{id}": {
            "get": {
                "operationId": "get_order",
                "tags": ["Orders"],
                "summary": "Show an order",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"200": {"description": "OK"}},
                "security": [{"bearer": []}],
            }
        }
    },
    "components": {"schemas": {}},
}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with Echo("one").running() as one, mesh_lab(tmp_path) as lab:
        await lab.register("order-1", one.port, {"path": "/v1/orders/{id}", "methods": ["GET"]}, openapi=DOCUMENT)
        yield lab


async def test_the_document_has_every_service_and_the_gateways_own_operations(lab: Lab) -> None:
    async with lab.session.get(f"{lab.edge}/openapi.json") as answer:
        merged: dict[str, Any] = await answer.json()
        tag = answer.headers["etag"]
    assert merged["openapi"] == "3.1.0"
    assert {"/v1/orders/{id}", "/.well-known/jwks.json"} == set(merged["paths"])
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(merged)))
    assert references == set(merged["components"]["schemas"])
    async with lab.session.get(f"{lab.edge}/openapi.json", headers={"if-none-match": tag}) as answer:
        assert answer.status == 304


async def test_the_page_may_load_nothing_from_elsewhere(lab: Lab) -> None:
    async with lab.session.get(f"{lab.edge}/docs") as answer:
        page = await answer.text()
        policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


async def test_the_page_renders_in_a_browser(lab: Lab, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    process = await asyncio.create_subprocess_exec(
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=5000", "--dump-dom",
        f"{lab.edge}/docs#get_order",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    dom = (await process.communicate())[0].decode()
    assert "Show an order" in dom
    assert "access token" in dom  # the operation named after # is open
    assert "Orders &amp; &lt;b&gt;more&lt;/b&gt;" in dom  # what services say is text, never markup
