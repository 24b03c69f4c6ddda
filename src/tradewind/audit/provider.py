"""The sandbox provider's list of charges."""

from __future__ import annotations

from sys import intern

import msgspec

from tradewind.audit.sources import Charge
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.third_party import ThirdPartyClient

PAGE = 1_000


class _Charge(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    reference: str
    metadata: dict[str, str]
    amount_captured_minor: int
    amount_refunded_minor: int
    currency: str


class _Page(msgspec.Struct, frozen=True):
    items: list[_Charge]
    next_cursor: str | None


class SandboxCharges:
    """Reads the sandbox's charges through its public API, page by page."""

    name = "sandbox"

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
        cursor = ""
        try:
            while True:
                answer = await client.call("GET", f"/v1/charges?limit={PAGE}{cursor}")
                if answer.status != 200:
                    raise Unavailable("provider-refused", f"psp-sandbox answered {answer.status}.")
                page = msgspec.json.decode(answer.body, type=_Page)
                found += [_charge(item) for item in page.items if item.amount_captured_minor > 0]
                if page.next_cursor is None:
                    return found
                cursor = f"&after={page.next_cursor}"
        finally:
            await client.close()


def _charge(item: _Charge) -> Charge:
    return Charge(
        id=item.id,
        attempt_id=item.metadata.get("attempt_id", ""),
        order_id=item.reference,
        captured_minor=item.amount_captured_minor,
        refunded_minor=item.amount_refunded_minor,
        currency=intern(item.currency),  # one of a few, of a million charges
    )
