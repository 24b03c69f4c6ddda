"""Whom order-service asks."""

from __future__ import annotations

from tradewind.chassis.client import MeshClient
from tradewind.chassis.errors import FieldError, Invalid, NotFound
from tradewind.services.order.domain.order import Address

TIMEOUT_S = 2.0


class Addresses:
    """The addresses that customers keep at user-service."""

    def __init__(self, mesh: MeshClient) -> None:
        self._mesh = mesh

    async def get_address(self, address_id: str, *, token: str) -> Address:
        """The address, as user-service shows it to the owner of `token`.

        Raises:
            Invalid: `unknown-address`, there is none, or it is somebody else's.
            Unavailable: user-service does not answer.
        """
        try:
            return await self._mesh.get(
                "user-service",
                "/v1/users/me/addresses/{id}",
                path_params={"id": address_id},
                token=token,
                type=Address,
                timeout_s=TIMEOUT_S,
            )
        except NotFound as missing:
            detail = "You have no such address."
            raise Invalid(
                "unknown-address", detail, errors=[FieldError("/shipping_address_id", "unknown-address", detail)]
            ) from missing
