"""Ring hash by user: what of a request decides on its instance where a service's balancing is `ring-hash`.

The router removes the header with the subject before it draws an instance, so the verified claim is kept beside the
request (filter state). Without one the client's address decides. Between services nothing does: any instance is drawn.
"""

from __future__ import annotations

from tradewind.mesh.demands import CLAIMS
from tradewind.mesh.envoy_json import Json, any_of, extension

FILTER = "envoy.filters.http.set_filter_state"

_FILTER_TYPE = "envoy.extensions.filters.http.set_filter_state.v3.Config"
_USER = "tradewind.user"
_SUBJECT = f"%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:{CLAIMS}:sub)%"


def subject_filter() -> Json:
    """The filter that keeps the subject; off unless a route turns it on."""
    kept = {
        "object_key": _USER,
        "factory_key": "envoy.hashable_string",
        "format_string": {"text_format_source": {"inline_string": _SUBJECT}, "omit_empty_values": True},
        "skip_if_empty": True,
    }
    return {**extension(FILTER, _FILTER_TYPE, on_request_headers=[kept]), "disabled": True}


def turned_on() -> Json:
    """The route's configuration of the filter."""
    return any_of("envoy.config.route.v3.FilterConfig", config={})


def hash_policy() -> list[Json]:
    """The route's hash: the user, else the address."""
    return [{"filter_state": {"key": _USER}, "terminal": True}, {"connection_properties": {"source_ip": True}}]
