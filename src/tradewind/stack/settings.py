"""What `tradewind up` is told: flags, and the environment of whoever calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tradewind.chassis.consul import ConsulAddress
from tradewind.chassis.transport.kafka.address import parse
from tradewind.stack.detours import Detours, read_detours
from tradewind.stack.errors import StackError
from tradewind.stack.unit import MAX_INSTANCES

DEFAULT_PORT = 8080
_MAX_PORT = 65535
_CONSUL_SCHEMES = {"http": "consul", "https": "consuls"}


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """`port` and `host` are the public edge. A `*_url` of an engine means: use that one, start none of our own."""

    port: int = DEFAULT_PORT
    tls_port: int = 0
    """A second port of the edge, which speaks TLS; 0: none."""
    host: str = "127.0.0.1"
    scale: Mapping[str, int] = field(default_factory=dict)
    postgres_url: str = ""
    valkey_url: str = ""
    smtp_url: str = ""
    kafka_url: str = ""
    """The event bus; empty: it is a database of its own on the PostgreSQL."""
    consul_url: str = ""
    """The registry; empty: the gateway is it."""
    detours: Detours = field(default_factory=Detours)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """The public URL on this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{host}:{self.port}"

    @property
    def tls_url(self) -> str:
        """The public URL over TLS on this machine; empty without such a port."""
        host = "localhost" if self.host in ("0.0.0.0", "::", "127.0.0.1") else self.host
        return f"https://{host}:{self.tls_port}" if self.tls_port else ""


def read_settings(
    environ: Mapping[str, str],
    *,
    port: int | None = None,
    tls_port: int | None = None,
    scale: Mapping[str, int] | None = None,
    kafka: str | None = None,
    consul: str | None = None,
) -> StackSettings:
    """Flags win over the environment. Raises StackError that names a wrong value and its variable or flag."""
    for room, count in (scale or {}).items():
        if not 0 <= count <= MAX_INSTANCES:
            raise StackError(f"--scale {room}={count} is out of range", f"0 to {MAX_INSTANCES} instances")
    return StackSettings(
        port=_port(environ, port),
        tls_port=_tls_port(environ, tls_port),
        host=environ.get("GATEWAY_EDGE_HOST") or "127.0.0.1",
        scale=scale or {},
        postgres_url=_url(environ, "TRADEWIND_POSTGRES_URL", "postgresql", "postgres"),
        valkey_url=_url(environ, "TRADEWIND_VALKEY_URL", "redis", "rediss", "valkey", "valkeys"),
        smtp_url=_url(environ, "TRADEWIND_SMTP_URL", "smtp", "smtps"),
        detours=read_detours(environ),
        kafka_url=_kafka(environ, kafka),
        consul_url=_consul(environ, consul),
        environ=dict(environ),
    )


def _port(environ: Mapping[str, str], flag: int | None) -> int:
    text = str(flag) if flag is not None else environ.get("TRADEWIND_PORT") or str(DEFAULT_PORT)
    if not text.isdigit() or not 1 <= int(text) <= _MAX_PORT:
        named = "--port" if flag is not None else "TRADEWIND_PORT"
        raise StackError(f"{named} {text!r} is not a port", f"a number from 1 to {_MAX_PORT}")
    return int(text)


def _tls_port(environ: Mapping[str, str], flag: int | None) -> int:
    text = str(flag) if flag is not None else environ.get("GATEWAY_TLS_PORT") or "0"
    if not text.isdigit() or int(text) > _MAX_PORT:
        named = "--tls-port" if flag is not None else "GATEWAY_TLS_PORT"
        raise StackError(f"{named} {text!r} is not a port", f"a number from 1 to {_MAX_PORT}, or 0 for none")
    return int(text)


def _kafka(environ: Mapping[str, str], flag: str | None) -> str:
    """The address as `BUS_URL` has it; `HOST:PORT` is enough to say."""
    text = flag if flag is not None else environ.get("TRADEWIND_KAFKA", "")
    if not text:
        return ""
    url = text if "://" in text else f"kafka://{text}"
    try:
        parse(url)
    except ValueError as error:
        named = "--kafka" if flag is not None else "TRADEWIND_KAFKA"
        raise StackError(f"{named}: {error}", "for example 127.0.0.1:9092, or a:9092,b:9092") from error
    return url


def _consul(environ: Mapping[str, str], flag: str | None) -> str:
    """The address as `REGISTRY_URL` has it; `HOST:PORT`, or http:// as in CONSUL_HTTP_ADDR, will do."""
    text = flag if flag is not None else environ.get("TRADEWIND_CONSUL", "")
    if not text:
        return ""
    scheme, separator, rest = text.rpartition("://")
    url = f"{_CONSUL_SCHEMES.get(scheme, scheme)}://{rest}" if separator else f"consul://{text}"
    try:
        ConsulAddress.parse(url.rstrip("/"))
    except ValueError as error:
        named = "--consul" if flag is not None else "TRADEWIND_CONSUL"
        raise StackError(f"{named}: {error}", "for example consul://127.0.0.1:8500") from error
    return url.rstrip("/")


def _url(environ: Mapping[str, str], name: str, *schemes: str) -> str:
    url = environ.get(name, "")
    if url and (urlsplit(url).scheme not in schemes or not urlsplit(url).netloc):
        raise StackError(f"{name} is not a connection string", f"for example {schemes[0]}://user:password@host:port/")
    return url
