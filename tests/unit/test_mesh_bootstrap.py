"""What Envoy is started with, as far as it can be judged without Envoy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tradewind.mesh.bootstrap import BootstrapSettings, bootstrap_config, envoy_command
from tradewind.mesh.clusters import endpoints, service_cluster
from tradewind.mesh.description import Instance
from tradewind.mesh.envoy_json import duration
from tradewind.mesh.policy import Bucket, RateLimits
from tradewind.mesh.policy.defaults import DEFAULT
from tradewind.mesh.rate_limits import limiter, told_to_clients
from tradewind.mesh.replies import REPLIES, local_replies


def config(**more: Any) -> Any:
    ports = {"edge_port": 1, "egress_port": 2, "admin_port": 3, "gateway_port": 4, "control_port": 5}
    return bootstrap_config(BootstrapSettings(**{**ports, **more}))


def manager(built: Any, listener: str) -> Any:
    found = next(each for each in built["static_resources"]["listeners"] if each["name"] == listener)
    return found["filter_chains"][0]["filters"][0]["typed_config"]


def test_only_the_edge_listens_for_everybody() -> None:
    built = config()
    addresses = {
        each["name"]: each["address"]["socket_address"]["address"] for each in built["static_resources"]["listeners"]
    }
    assert addresses == {"edge": "0.0.0.0", "egress": "127.0.0.1"}
    assert built["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_an_address_from_outside_is_kept_only_behind_proxies_of_our_own() -> None:
    def stripped(built: Any) -> set[str]:
        mutations = manager(built, "edge")["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
        return {each["remove_on_match"]["key_matcher"]["prefix"] for each in mutations}

    assert "x-forwarded-" in stripped(config())
    behind = config(trusted_proxies=1)
    assert "x-forwarded-" not in stripped(behind)
    assert manager(behind, "edge")["xff_num_trusted_hops"] == 1
    assert stripped(config()) - stripped(behind) == {"x-forwarded-"}
    assert {"x-forwarded-client-cert", "x-forwarded-host"} < stripped(behind)


def test_the_egress_asks_for_no_token_and_sets_no_limit() -> None:
    assert [each["name"] for each in manager(config(), "egress")["http_filters"]] == ["envoy.filters.http.router"]


def test_the_tracing_address_is_checked() -> None:
    built = config(otlp_endpoint="http://collector:4318/")
    (otlp,) = [each for each in built["static_resources"]["clusters"] if each["name"] == "otlp"]
    assert "collector" in json.dumps(otlp)
    assert "http://collector:4318/v1/traces" in json.dumps(manager(built, "edge")["tracing"])
    for wrong in ("collector:4318", "https://collector", "http://"):
        with pytest.raises(ValueError, match="OTLP"):
            config(otlp_endpoint=wrong)


def test_envoy_refuses_unknown_fields() -> None:
    assert "--reject-unknown-dynamic-fields" in envoy_command("envoy", "x.json", concurrency=1)


def test_envoy_complains_of_spans_it_cannot_send_only_where_somebody_waits_for_them() -> None:
    assert "jwt:error,tracing:off" in envoy_command("envoy", "x.json", concurrency=1, exports_spans=False)
    assert "jwt:error" in envoy_command("envoy", "x.json", concurrency=1, exports_spans=True)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (0.025, "0.025s"), (10.5, "10.5s"), (100.0, "100s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_cluster_has_no_panic_a_retry_budget_and_keeps_half_of_its_instances() -> None:
    cluster = service_cluster("order-service", DEFAULT)
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}
    (threshold,) = cluster["circuit_breakers"]["thresholds"]
    assert threshold["retry_budget"] == {"budget_percent": {"value": 25.0}, "min_retry_concurrency": 64}
    assert cluster["outlier_detection"]["max_ejection_percent"] == 50
    assert DEFAULT.idle_connection_s < 90


def test_endpoints_are_where_the_instances_say() -> None:
    instance = Instance(service="a-service", room="a", instance="a-1", address="10.0.0.7", port=9, management_port=8)
    built = endpoints("a-service", [instance])
    assert json.dumps(built).count('{"address": "10.0.0.7", "port_value": 9}') == 1
    assert "8" not in json.dumps(built["endpoints"])


def test_rate_limits_name_their_window_where_there_is_one() -> None:
    limits = RateLimits()
    uneven = RateLimits(subject=Bucket(per_s=1, burst=10))
    assert '\\"default\\";q=%RESPONSE_HEADER(x-ratelimit-limit)%;w=2' in json.dumps(told_to_clients("default", limits))
    assert '\\"auth\\";q=%RESPONSE_HEADER(x-ratelimit-limit)%;w=10' in json.dumps(told_to_clients("auth", limits))
    assert ";w=" not in json.dumps(told_to_clients("default", uneven))
    buckets = [
        ([entry["key"] for entry in each["entries"]], each["token_bucket"]["max_tokens"])
        for each in limiter(limits)["descriptors"]
    ]
    assert buckets == [
        (["rate", "subject"], 400),
        (["rate", "anonymous", "remote_address"], 200),
        (["rate", "anonymous", "remote_address"], 50),
        (["rate", "subject"], 50),
    ]


def test_every_reply_is_a_problem_and_every_code_a_slug() -> None:
    mappers = local_replies()["mappers"]
    assert len(mappers) == 2 * len(REPLIES)
    for mapper in mappers:
        body = mapper["body_format_override"]
        assert body["content_type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "code", "request_id"} == set(body["json_format"])
        assert body["json_format"]["code"] == body["json_format"]["code"].lower().replace("_", "-")
    bodies = [each["body_format_override"]["json_format"] for each in mappers]
    # The route says for how long maintenance lasts.
    unavailable = [
        mapper
        for mapper, body in zip(mappers, bodies, strict=True)
        if body["status"] == 503 and body["code"] != "maintenance"
    ]
    assert all(each["headers_to_add"][0]["header"]["key"] == "retry-after" for each in unavailable)
