"""Ways around: where single processes reach an engine through another address than its own, such as a proxy's.

`TRADEWIND_DETOURS` names them: `order/postgres=127.0.0.1:4001,payment/psp=127.0.0.1:4002`. Before the slash is who goes the
way, behind it what is reached. A fault run puts a proxy there, and so can part one room from one engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from tradewind.stack.errors import StackError

VARIABLE = "TRADEWIND_DETOURS"
ENGINES = ("postgres", "bus", "valkey", "mesh", "registry", "psp", "smtp", "webhooks")
"""What can be reached by a detour: the room's database, the event bus, the cache, the egress through which services call
each other, the registry, the payment provider, the mail server, and the address the provider posts its webhooks to."""


@dataclass(frozen=True)
class Detours:
    """For `who/what` the `host:port` to use instead."""

    ways: Mapping[str, str] = field(default_factory=dict)

    def url(self, who: str, what: str, url: str) -> str:
        """`url` as `who` has to write it: by the detour if there is one. Credentials, path and query stay."""
        instead = self.ways.get(f"{who}/{what}")
        if instead is None:
            return url
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit((parts.scheme, f"{credentials}{at}{instead}", parts.path, parts.query, parts.fragment))


def read_detours(environ: Mapping[str, str]) -> Detours:
    """What `TRADEWIND_DETOURS` says.

    Raises:
        StackError: it cannot be read; the wrong part is named.
    """
    ways: dict[str, str] = {}
    for entry in filter(None, environ.get(VARIABLE, "").split(",")):
        way, equals, address = entry.strip().partition("=")
        who, _, what = way.partition("/")
        port = address.rpartition(":")[2]
        if not (equals and who and what in ENGINES and port.isdigit()):
            raise StackError(
                f"{VARIABLE}: {entry!r} is no detour",
                f"who/what=host:port, for example order/postgres=127.0.0.1:4001; what is one of {', '.join(ENGINES)}",
            )
        ways[way] = address
    return Detours(ways)


def detours_text(ways: Mapping[str, str]) -> str:
    """The value of `TRADEWIND_DETOURS` for these ways."""
    return ",".join(f"{way}={address}" for way, address in ways.items())
