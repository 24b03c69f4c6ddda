"""TLS at the public edge, as Envoy wants it. The certificate comes by SDS from a file, so it changes without a restart."""

from __future__ import annotations

from pathlib import Path

from tradewind.mesh.envoy_json import Json, any_of, extension, set_header

SECRET = "edge"  # noqa: S105 - the name of the certificate, no secret
HSTS_FILTER = "tradewind.hsts"
_TLS = "envoy.extensions.transport_sockets.tls.v3."


def secret_resource(chain: Path, key: Path) -> Json:
    """The content of the SDS file: one secret that names the files of a certificate."""
    certificate = {
        "certificate_chain": {"filename": str(chain)},
        "private_key": {"filename": str(key)},
    }
    return {"resources": [any_of(f"{_TLS}Secret", name=SECRET, tls_certificate=certificate)]}


def transport_socket(secret_file: str) -> Json:
    """TLS 1.2 or later, HTTP/2 where the client can, with the certificate that `secret_file` names."""
    source = {"path_config_source": {"path": secret_file}, "resource_api_version": "V3"}
    return extension(
        "envoy.transport_sockets.tls",
        f"{_TLS}DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [{"name": SECRET, "sds_config": source}],
        },
    )


def hsts_filter(max_age_s: int) -> Json:
    """Adds `Strict-Transport-Security` to every answer; only for a listener that speaks TLS."""
    return extension(
        HSTS_FILTER,
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"response_mutations": [{"append": set_header("strict-transport-security", f"max-age={max_age_s}")}]},
    )
