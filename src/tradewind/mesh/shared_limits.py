"""Limits that all gateways share, on the few routes where a request costs much (rate class `auth`: a password hash each).

Envoy asks the control plane over HTTP before it forwards such a request (its `ext_authz` filter), and the control plane
asks Valkey. The local limit stands before it and holds by itself when either does not answer in time.
"""

from __future__ import annotations

import math

import msgspec

from tradewind.chassis.shared_buckets import Take
from tradewind.mesh.envoy_json import Json, any_of, extension
from tradewind.mesh.policy import Bucket
from tradewind.mesh.rate_limits import ADDRESS_HEADER, SUBJECT_HEADER, TOLD_HEADER, TOLD_POLICY_HEADER

FILTER = "envoy.filters.http.ext_authz"
PATH = "/v1/limits"
TIMEOUT_S = 0.2
"""Longer than the control plane waits for Valkey (0.05 s), so that it is nearly always the one to say that there is none."""

_FILTER_TYPE = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question of Envoy's: pass or not, and what to tell the client (nothing where nobody counted)."""

    passes: bool = True
    headers: dict[str, str] = {}


def verdict(rate: str, bucket: Bucket, take: Take) -> Verdict:
    """What Envoy is told of a take from `bucket`."""
    wait_s = math.ceil(take.next_in_s)
    headers = {
        TOLD_HEADER: f'"{rate}";r={take.left};t={wait_s}',
        TOLD_POLICY_HEADER: f'"{rate}";q={bucket.burst};w={max(1, round(bucket.window_s))}',
    }
    if not take.taken:
        headers["retry-after"] = str(max(1, wait_s))
    return Verdict(passes=take.taken, headers=headers)


def asking_filter(control_plane: str) -> Json:
    """The HTTP filter; asks only on routes that say so."""
    wanted = [{"exact": name} for name in (SUBJECT_HEADER, ADDRESS_HEADER)]
    told = {"patterns": [{"exact": name} for name in ("retry-after", TOLD_HEADER, TOLD_POLICY_HEADER)]}
    return {
        **extension(
            FILTER,
            _FILTER_TYPE,
            transport_api_version="V3",
            stat_prefix="shared_limits",
            # Nobody is turned away because the limit could not be asked for: the local one has let it pass.
            failure_mode_allow=True,
            allowed_headers={"patterns": wanted},
            http_service={
                "server_uri": {
                    "uri": f"http://{control_plane}{PATH}", "cluster": control_plane, "timeout": f"{TIMEOUT_S}s",
                },
                "path_prefix": PATH,
                "authorization_response": {"allowed_client_headers": told, "allowed_client_headers_on_success": told},
            },
        ),
        "disabled": True,
    }  # fmt: skip


def asked_for() -> Json:
    """The per-route configuration of a route whose limit is shared."""
    return any_of(f"{_FILTER_TYPE}PerRoute", check_settings={"disable_request_body_buffering": True})
