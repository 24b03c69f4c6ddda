"""Names in the DNS: `REGISTRY_URL=dns://...`, and asking for them.

dns:///tradewind.svc.cluster.local                  order-service.tradewind.svc.cluster.local, by the system's resolver
dns://10.96.0.10:53/tradewind.svc.cluster.local     by this one
dns:///x.test?port=8000&management_port=9000        where every instance listens (these are the defaults)
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import dns.asyncresolver
import dns.exception
import dns.resolver

LOOKUP_TIMEOUT_S = 2.0
DNS_PORT = 53
MAX_ADDRESSES = 1_000


class NamesAway(Exception):
    """No server answered, or not with sense; what was known stays."""


@dataclass(frozen=True)
class Found:
    """The addresses of a name, sorted, and for how long that holds. None at all where the name is not known."""

    addresses: tuple[str, ...]
    ttl_s: float


@dataclass(frozen=True, kw_only=True)
class Names:
    """Where services are in the DNS. `server` is a resolver's address and port; None for the system's."""

    domain: str
    port: int = 8000
    management_port: int = 9000
    server: tuple[str, int] | None = None

    @classmethod
    def parse(cls, url: str) -> Names:
        """What `url` says.

        Raises:
            ValueError: it says nothing usable.
        """
        parts = urlsplit(url)
        domain = parts.path.strip("/")
        query = dict(parse_qsl(parts.query))
        if parts.scheme != "dns" or not domain or "/" in domain or query.keys() - {"port", "management_port"}:
            raise ValueError("dns://[SERVER[:PORT]]/DOMAIN[?port=8000&management_port=9000]")
        server = None
        if parts.hostname:
            server = (str(ipaddress.ip_address(parts.hostname)), parts.port or DNS_PORT)
        ports = {name: int(value) for name, value in query.items()}
        if not all(0 < port < 65_536 for port in ports.values()):
            raise ValueError("a port is a number from 1 to 65535")
        return cls(domain=domain, server=server, **ports)

    def name_of(self, service: str) -> str:
        """The name whose addresses are the instances of `service`."""
        return f"{service}.{self.domain}"

    async def find(self, service: str) -> Found:
        """The addresses of `service` now. Raises NamesAway."""
        try:
            resolver = dns.asyncresolver.Resolver(configure=self.server is None)
            if self.server is not None:
                resolver.nameservers, resolver.port = [self.server[0]], self.server[1]
            resolver.lifetime = LOOKUP_TIMEOUT_S
            answer = await resolver.resolve(self.name_of(service) + ".", "A", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Found((), 1.0)
        except (dns.exception.DNSException, OSError) as exc:
            raise NamesAway(str(exc) or type(exc).__name__) from exc
        if answer.rrset is None:
            return Found((), 1.0)
        addresses = sorted(record.address for record in answer.rrset)[:MAX_ADDRESSES]
        return Found(tuple(addresses), float(answer.rrset.ttl))
