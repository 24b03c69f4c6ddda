"""Local rate limits of the edge, and the headers that tell clients about them.

Each request has the class of its route (route metadata) and a client: the verified subject where there is one, the
address otherwise. Envoy keeps one token bucket for each client and class; they start full when routes change. Its own `x-ratelimit-*` headers are then
rewritten to the IETF names (draft-ietf-httpapi-ratelimit-headers: `RateLimit`, `RateLimit-Policy`).
"""

from __future__ import annotations

from tradewind.mesh.description import Rate
from tradewind.mesh.envoy_json import Json, any_of, duration, set_header
from tradewind.mesh.policy import Bucket, RateLimits

FILTER = "envoy.filters.http.local_ratelimit"
FILTER_TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
TELLER_FILTER = "envoy.filters.http.header_mutation"
TELLER_TYPE = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
TELLER_ROUTE_TYPE = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
SUBJECT_HEADER = "x-tradewind-subject"
"""Set by Envoy from the verified token for its own use, removed before the request leaves for a service."""

SHARED_CLASS: Rate = "auth"
"""The class whose limit all gateways share, where there is a Valkey; see `shared_limits`."""
ADDRESS_HEADER = "x-tradewind-address"
"""The client's address, for the control plane alone; removed like the subject."""
TOLD_HEADER = "x-tradewind-limit"
TOLD_POLICY_HEADER = "x-tradewind-limit-policy"
"""What the control plane says to clients, in the form of `RateLimit` and `RateLimit-Policy`."""

_METADATA = "tradewind"
_UNLIMITED = {"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "1s"}


def route_metadata(rate: Rate) -> Json:
    """The metadata that gives a route its class."""
    return {"filter_metadata": {_METADATA: {"rate": rate}}}


def limiter(limits: RateLimits) -> Json:
    """The configuration of the limiter for all routes of a virtual host, which thereby share their buckets."""
    rate = {
        "metadata": {
            "descriptor_key": "rate",
            "source": "ROUTE_ENTRY",
            "metadata_key": {"key": _METADATA, "path": [{"key": "rate"}]},
        }
    }
    subject = {"request_headers": {"header_name": SUBJECT_HEADER, "descriptor_key": "subject"}}
    nobody = {
        "header_value_match": {
            "descriptor_key": "anonymous",
            "descriptor_value": "yes",
            "expect_match": False,
            "headers": [{"name": SUBJECT_HEADER, "present_match": True}],
        }
    }
    told = {"x_ratelimit_option": "DRAFT_VERSION_03"}
    return any_of(
        FILTER_TYPE,
        stat_prefix="edge_rate_limit",
        token_bucket=_UNLIMITED,
        filter_enabled={"default_value": {"numerator": 100}},
        filter_enforced={"default_value": {"numerator": 100}},
        enable_retry_after_header=True,
        max_dynamic_descriptors=limits.most_clients,
        rate_limits=[
            {"actions": [rate, subject], **told},
            {"actions": [rate, nobody, {"remote_address": {}}], **told},
        ],
        descriptors=[
            _descriptor("default", ["subject"], limits.subject),
            _descriptor("default", ["anonymous", "remote_address"], limits.address),
            _descriptor("auth", ["anonymous", "remote_address"], limits.auth),
            _descriptor("auth", ["subject"], limits.auth),
        ],
    )


def _descriptor(rate: Rate, keys: list[str], bucket: Bucket) -> Json:
    named = {"anonymous": {"key": "anonymous", "value": "yes"}}
    return {
        "entries": [{"key": "rate", "value": rate}, *(named.get(key, {"key": key}) for key in keys)],
        "token_bucket": {
            "max_tokens": bucket.burst,
            "tokens_per_fill": bucket.per_s,
            "fill_interval": duration(1),
        },
    }


def told_to_clients(rate: Rate, limits: RateLimits) -> Json:
    """Response mutations of a route that make `RateLimit` and `RateLimit-Policy` of Envoy's own headers.

    A request that was refused before it came to the limiter has none of Envoy's headers: the first step then adds
    nothing, an empty value being left out, and the second overwrites only what the first added.
    """
    shared = _told_by_the_control_plane() if rate == SHARED_CLASS and limits.shared else {"response": [], "request": []}
    remaining, reset, limit = (f"%RESPONSE_HEADER(x-ratelimit-{name})%" for name in ("remaining", "reset", "limit"))
    return any_of(
        TELLER_ROUTE_TYPE,
        mutations={
            "request_mutations": shared["request"],
            "response_mutations": [
                {"append": set_header("ratelimit", remaining)},
                {"append": set_header("ratelimit", f'"{rate}";r={remaining};t={reset}', "OVERWRITE_IF_EXISTS")},
                {"append": set_header("ratelimit-policy", limit)},
                {
                    "append": set_header(
                        "ratelimit-policy", f'"{rate}";q={limit}{_window(rate, limits)}', "OVERWRITE_IF_EXISTS"
                    )
                },
                *({"remove": f"x-ratelimit-{name}"} for name in ("limit", "remaining", "reset")),
                *shared["response"],
            ],
        },
    )


def _told_by_the_control_plane() -> dict[str, list[Json]]:
    """Mutations of a route whose limit is shared: who asks goes to the control plane, and what it counted wins over ours."""
    response: list[Json] = []
    for name, told in (("ratelimit", TOLD_HEADER), ("ratelimit-policy", TOLD_POLICY_HEADER)):
        response += [{"append": set_header(name, f"%RESPONSE_HEADER({told})%")}, {"remove": told}]
    return {
        "request": [{"append": set_header(ADDRESS_HEADER, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")}],
        "response": response,
    }


def _window(rate: Rate, limits: RateLimits) -> str:
    """The parameter `w` (seconds in which the quota comes back), where subjects and addresses have the same."""
    windows = {limits.subject.window_s, limits.address.window_s} if rate == "default" else {limits.auth.window_s}
    return f";w={max(1, round(windows.pop()))}" if len(windows) == 1 else ""
