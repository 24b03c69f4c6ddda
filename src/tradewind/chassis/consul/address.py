"""Where a Consul agent is, and how to come in.

    consul://127.0.0.1:8500      plain HTTP: the agent of this machine
    consuls://consul.internal    TLS; port 8501 unless one is given

Token and certificates are settings of their own, named as Consul's own tools name them (CONSUL_HTTP_TOKEN, CONSUL_CACERT,
CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from tradewind.chassis.settings import Secret

SCHEMES = {"consul": ("http", 8500), "consuls": ("https", 8501)}


@dataclass(frozen=True, kw_only=True)
class ConsulAddress:
    """`base_url` is that of the HTTP API; the files are PEM, empty for none."""

    base_url: str
    token: Secret | None = None
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @classmethod
    def parse(
        cls, url: str, token: Secret | None = None, *, ca_file: str = "", certificate_file: str = "", key_file: str = ""
    ) -> ConsulAddress:
        """The address in `url`.

        Raises:
            ValueError: it is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise ValueError(f"a Consul address begins with consul:// or consuls://, not {parts.scheme}:")
        scheme, default_port = SCHEMES[parts.scheme]
        if not parts.hostname or parts.path.strip("/") or parts.query or "@" in parts.netloc:
            raise ValueError("consul://host:port and nothing more; the token is CONSUL_HTTP_TOKEN")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(
            base_url=f"{scheme}://{host}:{parts.port or default_port}",
            token=token,
            ca_file=ca_file,
            certificate_file=certificate_file,
            key_file=key_file,
        )

    def tls(self) -> ssl.SSLContext | None:
        """What connections are made with; None where they are plain.

        Raises:
            OSError: a file cannot be read, or holds no certificate.
        """
        if not self.base_url.startswith("https"):
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context
