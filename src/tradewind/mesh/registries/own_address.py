"""The address of this machine that faces the registry."""

from __future__ import annotations

import asyncio
import socket

EVERY_INTERFACE = ("0.0.0.0", "::")


async def address_towards(declared: str, host: str, port: int) -> str:
    """`declared` as somebody else can use it: where it is "every interface", the address from which `host` is reached.

    Raises:
        OSError: the name of `host` is not known (yet).
    """
    if declared not in EVERY_INTERFACE:
        return declared
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    family, _, _, _, peer = found[0]
    # Connecting a datagram socket sends nothing; it makes the kernel choose the interface that faces the peer.
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        own: str = probe.getsockname()[0]
    return own
