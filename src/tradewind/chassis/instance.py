"""What a process is called among its kind."""

from __future__ import annotations

import re
import socket

MAX_LENGTH = 63
"""The registry's limit, which is a DNS label's."""


def instance_name(given: str, room: str, hostname: str | None = None) -> str:
    """`given`, else a name made of the room and the host's: `order-3f2a91c0d4e7`.

    Replicas of one container or pod share their whole environment; the host's name is all that tells them apart. A pod's
    (`order-service-6d5f-x7k2p`) begins with the room already. Of a long one the end is kept, which is what differs.
    """
    if given:
        return given
    host = re.sub("[^a-z0-9]+", "-", (hostname or socket.gethostname()).lower()).strip("-")
    prefix = f"{room}-"
    own = host.removeprefix(prefix) or "1"
    return prefix + own[len(prefix) - MAX_LENGTH :].lstrip("-")
