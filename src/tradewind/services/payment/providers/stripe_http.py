"""How Stripe's SDK sends a request here: through the platform's own client, once, with its breaker, its budget and its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import stripe

from tradewind.chassis.third_party import ThirdPartyClient


class StripeHttp(stripe.HTTPClient):
    """The SDK's transport. `NotSent` and `OutcomeUnknown` pass through the SDK as they are."""

    name: ClassVar[str] = "tradewind"

    def __init__(self, client: ThirdPartyClient, base_url: str, *, timeout_s: float) -> None:
        """`client` calls `base_url`; each call may take `timeout_s`."""
        super().__init__()
        self._client = client
        self._base_url = base_url
        self._timeout_s = timeout_s

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send it, once. Raises NotSent, OutcomeUnknown."""
        answer = await self._client.call(
            method.upper(),
            url.removeprefix(self._base_url),
            body=post_data.encode() if post_data else None,
            headers=headers,
            timeout_s=self._timeout_s,
        )
        return answer.body, answer.status, answer.headers

    async def close_async(self) -> None:
        """Close all connections."""
        await self._client.close()
