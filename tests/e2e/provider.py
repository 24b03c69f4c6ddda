"""The payment provider, asked and made unkind by its own HTTP API: what a test cannot learn from the platform's word."""

from __future__ import annotations

from typing import Any

import aiohttp

from tradewind.bench.platform import Platform

NORMAL: dict[str, Any] = {"latency_ms": 20, "webhook_delay_ms": 0, "outage_s": 0}


class Provider:
    """The provider of one platform."""

    def __init__(self, platform: Platform) -> None:
        self._url = f"http://127.0.0.1:{platform.state.ports()['psp-sandbox']}"
        self._headers = {"authorization": f"Bearer {platform.state.secrets().get('sandbox_api_key')}"}

    async def conditions(self, **changes: Any) -> None:
        """Change its weather, for example `latency_ms=1500`."""
        await self._call("POST", "/v1/_control", json=changes)

    async def charges(self, order_id: str) -> list[dict[str, Any]]:
        """What it charged, or tried to, for an order."""
        return await self._list(f"/v1/charges?limit=100&reference={order_id}")

    async def refunds(self, charge_id: str) -> list[dict[str, Any]]:
        """What it gave back of a charge."""
        return await self._list(f"/v1/refunds?limit=100&charge_id={charge_id}")

    async def captured(self, order_id: str) -> list[int]:
        """The amounts of the charges that took money for an order, in minor units."""
        return [
            charge["amount_captured_minor"]
            for charge in await self.charges(order_id)
            if charge["status"] == "succeeded"
        ]

    async def _list(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._call("GET", path))["items"]
        return found

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        async with aiohttp.ClientSession(headers=self._headers) as session:
            async with session.request(method, self._url + path, **options) as answer:
                assert answer.status == 200, f"{method} {path}: {answer.status} {await answer.text()}"
                return await answer.json()
