"""From the address an instance gives to the one Envoy is told, which must be a number."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

RESOLVE_TIMEOUT_S = 2.0


class AddressUnknown(Exception):
    """A host name that does not resolve."""


async def reachable_address(declared: str, peer: str) -> str:
    """The IP address at which an instance that declared `declared` is reached; `peer` is where it called from.

    An instance that listens on all addresses (`0.0.0.0`, `::`), as containers do, is reached where it called from. A
    host name is resolved once: an instance that comes back elsewhere registers again.

    Raises:
        AddressUnknown: the name does not resolve within 2 s.
    """
    try:
        address = ipaddress.ip_address(declared)
    except ValueError:
        return await _resolved(declared)
    return peer if address.is_unspecified else str(address)


async def _resolved(name: str) -> str:
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as exc:
        raise AddressUnknown(f"{name} does not resolve: {exc}") from exc
    by_family = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
    return str(by_family[0][4][0])
