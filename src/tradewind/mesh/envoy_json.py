"""The few shapes that recur in Envoy's configuration, in its JSON form."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

TYPE_PREFIX = "type.googleapis.com/"


def any_of(kind: str, **fields: Any) -> Json:
    """A `google.protobuf.Any` that holds a message of type `kind`."""
    return {"@type": TYPE_PREFIX + kind, **fields}


def extension(name: str, kind: str, **fields: Any) -> Json:
    """A named extension with its typed configuration."""
    return {"name": name, "typed_config": any_of(kind, **fields)}


def duration(seconds: float) -> str:
    """A protobuf duration: `0.025s`. Zero means no limit wherever this project uses it."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def socket_address(host: str, port: int) -> Json:
    """An address to listen on or to connect to."""
    return {"socket_address": {"address": host, "port_value": port}}


def set_header(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    """A header to set; `action` is one of Envoy's HeaderAppendAction."""
    return {"header": {"key": name, "value": value}, "append_action": action}


def method_is(*methods: str) -> Json:
    """A header matcher for the method."""
    if len(methods) == 1:
        return {"name": ":method", "string_match": {"exact": methods[0]}}
    return {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(methods)}}}


def control_plane_source(cluster: str) -> Json:
    """Where Envoy asks for dynamic resources: REST long-polls to the control plane, without giving up at start.

    The pause between polls is what a change waits at most; the poll itself hangs until there is something new.
    """
    return {
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": [cluster],
            "refresh_delay": "0.010s",
            "request_timeout": "40s",
        },
    }
