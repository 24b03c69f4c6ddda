"""The sandbox provider's list of charges."""

from __future__ import annotations

from typing import Any

import msgspec

from tradewind.audit.sources import Charge
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.third_party import ThirdPartyClient

PAGE = 100


class SandboxCharges:
    """Reads the sandbox's charges through its public API, page by page."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {api_key}"}

    async def charges(self) -> list[Charge]:
        """All charges that took money, oldest first.

        Raises:
            Unavailable: the provider is away, or does not know the key.
        """
        client = ThirdPartyClient(self._url, "psp-sandbox", headers=self._headers)
        found: list[Charge] = []
        after = ""
        try:
            while True:
                answer = await client.call("GET", f"/v1/charges?limit={PAGE}" + (f"&after={after}" if after else ""))
                if answer.status != 200:
                    raise Unavailable("provider-refused", f"The provider answered {answer.status} to the audit.")
                page = msgspec.json.decode(answer.body)
                found.extend(_charge(item) for item in page["items"] if item["amount_captured_minor"] > 0)
                after = page.get("next_cursor") or ""
                if not after:
                    return found
        finally:
            await client.close()


def _charge(item: dict[str, Any]) -> Charge:
    return Charge(
        id=item["id"],
        order_id=item["reference"],
        payment_id=item["metadata"].get("payment_id", ""),
        captured_minor=item["amount_captured_minor"],
        refunded_minor=item["amount_refunded_minor"],
        currency=item["currency"],
    )
