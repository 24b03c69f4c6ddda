"""Envoy's TLS: what it shows and whom it accepts, on the way in (egress listener) and on the way out (clusters)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tradewind.mesh.envoy_json import Json, any_of, extension
from tradewind.mesh.identity import TRUST_DOMAIN, spiffe_id

IDENTITY = "identity"
TRUST = "trust"

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - the name of a message type
_SOCKET = "envoy.transport_sockets.tls"


class SecretFiles(msgspec.Struct, frozen=True):
    """Where Envoy finds its certificate with its key, and the roots it checks others by."""

    identity: str
    trust: str

    @classmethod
    def in_folder(cls, folder: Path) -> SecretFiles:
        """The two files in `folder`, as an absolute path: Envoy may be started elsewhere."""
        return cls(str(folder.absolute() / "identity.json"), str(folder.absolute() / "trust.json"))


def identity_secret(certificate: str, private_key: str) -> Json:
    """The content of the identity file (a DiscoveryResponse); both are PEM."""
    chain = {"certificate_chain": {"inline_string": certificate}, "private_key": {"inline_string": private_key}}
    return {"resources": [any_of(_SECRET, name=IDENTITY, tls_certificate=chain)]}


def trust_secret(roots: str) -> Json:
    """The content of the trust file; `roots` are PEM."""
    return {"resources": [any_of(_SECRET, name=TRUST, validation_context={"trusted_ca": {"inline_string": roots}})]}


def to_room(files: SecretFiles, room: str) -> Json:
    """The transport socket of a cluster: we show the proxy's certificate, and nobody but `room` may answer."""
    return extension(
        _SOCKET,
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context=_common(files, {"exact": spiffe_id(room)}),
        # Every connection proves itself anew.
        max_session_keys=0,
    )


def from_rooms(files: SecretFiles) -> Json:
    """The transport socket of the egress listener: whoever comes shows a certificate of this platform."""
    return extension(
        _SOCKET,
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=_common(files, {"prefix": f"spiffe://{TRUST_DOMAIN}/"}),
        require_client_certificate=True,
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )


def _common(files: SecretFiles, peer: Json) -> Json:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [{"name": IDENTITY, "sds_config": _from_file(files.identity)}],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer}]},
            "validation_context_sds_secret_config": {"name": TRUST, "sds_config": _from_file(files.trust)},
        },
    }


def _from_file(path: str) -> Json:
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}
