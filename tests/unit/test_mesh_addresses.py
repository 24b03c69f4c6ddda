"""Which address Envoy is told. No socket is opened; `localhost` is in the machine's own table."""

from __future__ import annotations

import pytest

from tradewind.mesh.addresses import AddressUnknown, reachable_address


@pytest.mark.parametrize(
    ("declared", "told"),
    [("10.0.0.7", "10.0.0.7"), ("::1", "::1"), ("0.0.0.0", "10.1.1.1"), ("::", "10.1.1.1"), ("localhost", "127.0.0.1")],
)
async def test_an_address_is_a_number_that_others_can_reach(declared: str, told: str) -> None:
    assert await reachable_address(declared, peer="10.1.1.1") == told


async def test_a_name_that_nobody_has_is_refused() -> None:
    with pytest.raises(AddressUnknown, match="no-such-host"):
        await reachable_address("no-such-host.invalid", peer="10.1.1.1")
