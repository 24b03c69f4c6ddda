"""`BUS_URL` of a Kafka cluster.

    kafka://broker:9092                                    one is enough, it names the others
    kafka://a:9092,b:9092,c:9092/staging                   all topics and groups begin with `staging.`
    kafka+ssl://user:password@a:9093?sasl=SCRAM-SHA-512    TLS, and who we are

A prefix lets several platforms share a cluster. `ca` in the query names a file with the authorities to trust.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("kafka", "kafka+ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
DEFAULT_PORT = 9092

_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_PREFIX = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Address:
    """Where the cluster is. `prefix` ends with a dot, or is empty; `security` are librdkafka's own settings."""

    servers: str
    prefix: str = ""
    security: Mapping[str, str] = field(default_factory=dict, repr=False)

    def outside(self, name: str) -> str:
        """What we call `name` is called on the cluster."""
        return self.prefix + name

    def inside(self, name: str) -> str | None:
        """What the cluster calls `name` is called by us; None if it is none of ours."""
        return name.removeprefix(self.prefix) if name.startswith(self.prefix) and not name.startswith("__") else None


def parse(url: str) -> Address:
    """The address in `url`.

    Raises:
        ValueError: it is none; the message does not repeat the password.
    """
    parts = urlsplit(url)
    user, _, servers = parts.netloc.rpartition("@")
    found = [_server(text) for text in servers.split(",")]
    prefix = parts.path.strip("/")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise ValueError(f"kafka://.../{prefix}: a prefix is lower case letters, digits, - and _")
    return Address(
        servers=",".join(found),
        prefix=f"{prefix}." if prefix else "",
        security=_security(parts.scheme, user, dict(parse_qsl(parts.query))),
    )


def _server(text: str) -> str:
    match = _SERVER.fullmatch(text)
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if match is None or not 0 < port < 65_536:
        raise ValueError(f"kafka://host:port[,host:port]: {text!r} is no host and port")
    return f"{match['host']}:{port}"


def _security(scheme: str, user: str, query: dict[str, str]) -> dict[str, str]:
    if scheme not in SCHEMES:
        raise ValueError(f"a Kafka address begins with kafka:// or kafka+ssl://, not {scheme}:")
    unknown = query.keys() - {"sasl", "ca"}
    if unknown:
        raise ValueError(f"kafka://...?{min(unknown)}= is unknown; there are sasl and ca")
    encrypted = scheme == "kafka+ssl"
    settings: dict[str, str] = {}
    if user:
        mechanism = query.get("sasl", "SCRAM-SHA-512").upper()
        if mechanism not in MECHANISMS:
            raise ValueError(f"sasl is one of {', '.join(MECHANISMS)}, not {mechanism}")
        name, _, password = user.partition(":")
        settings |= {
            "sasl.mechanism": mechanism,
            "sasl.username": unquote(name),
            "sasl.password": unquote(password),
        }
    settings["security.protocol"] = ("SASL_" if user else "") + ("SSL" if encrypted else "PLAINTEXT")
    if "ca" in query:
        settings["ssl.ca.location"] = query["ca"]
    return settings
