"""The Grafana dashboard: one page from the request to the last event, per service.

A test holds every metric named here, and in the alerts, against those the code registers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WIDTH = 24
HEIGHT = 8
REFRESH = "10s"

_SERVICES = 'job=~"$service"'
_REQUESTS = "http_server_request_duration_seconds"


@dataclass(frozen=True)
class Panel:
    """One chart: its queries by legend. `unit` is Grafana's name of it; `full` stacks the lines to a whole."""

    title: str
    unit: str
    queries: Mapping[str, str]
    said: str = ""


def _quantile(q: float, metric: str, by: str, where: str = _SERVICES) -> str:
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"


ROWS: Mapping[str, tuple[Panel, ...]] = {
    "Requests": (
        Panel("Rate", "reqps", {"{{job}}": f"sum by (job) (rate({_REQUESTS}_count{{{_SERVICES}}}[$__rate_interval]))"}),
        Panel(
            "Errors",
            "percentunit",
            {
                "{{job}}": f'sum by (job) (rate({_REQUESTS}_count{{{_SERVICES},status="5xx"}}[$__rate_interval]))'
                f" / sum by (job) (rate({_REQUESTS}_count{{{_SERVICES}}}[$__rate_interval]))"
            },
            "Share of answers that were our fault.",
        ),
        Panel(
            "Duration",
            "s",
            {f"{{{{job}}}} {name}": _quantile(q, _REQUESTS, "job") for q, name in ((0.5, "p50"), (0.99, "p99"))},
        ),
        Panel(
            "Slowest operations, p99",
            "s",
            {"{{method}} {{route}}": f"topk(8, {_quantile(0.99, _REQUESTS, 'method, route')})"},
        ),
        Panel(
            "Calls to others, p99",
            "s",
            {"{{job}} to {{target}}": _quantile(0.99, "http_client_request_duration_seconds", "job, target")},
        ),
        Panel(
            "Circuits",
            "none",
            {"{{job}} to {{target}}": f"max by (job, target) (circuit_state{{{_SERVICES}}})"},
            "0 closed, 1 half-open, 2 open.",
        ),
    ),
    "Order to cash": (
        Panel(
            "Orders placed",
            "reqps",
            {
                "{{status}}": f'sum by (status) (rate({_REQUESTS}_count{{job="order-service",method="POST",'
                'route="/v1/orders"}[$__rate_interval]))'
            },
        ),
        Panel(
            "What the provider said",
            "ops",
            {
                "charge {{finding}}": "sum by (finding) (rate(payment_charge_findings_total[$__rate_interval]))",
                "refund {{finding}}": "sum by (finding) (rate(payment_refund_findings_total[$__rate_interval]))",
            },
            "`unknown` is being reconciled; `wrong` wants a person.",
        ),
        Panel(
            "From an event to its effect",
            "s",
            {
                f"{{{{group}}}} {name}": _quantile(q, "consumer_effect_seconds", "group")
                for q, name in ((0.5, "p50"), (0.99, "p99"))
            },
            "One step of a saga: the oldest event of each batch.",
        ),
    ),
    "Events": (
        Panel("Outbox: waiting", "short", {"{{job}}": f"sum by (job) (outbox_pending_events{{{_SERVICES}}})"}),
        Panel("Outbox: oldest", "s", {"{{job}}": f"max by (job) (outbox_oldest_event_seconds{{{_SERVICES}}})"}),
        Panel("Consumers: behind", "short", {"{{group}} {{topic}}": "sum by (group, topic) (consumer_lag_events)"}),
        Panel(
            "Carried",
            "ops",
            {
                "{{job}} published": f"sum by (job) (rate(outbox_published_events_total{{{_SERVICES}}}[$__rate_interval]))",
                "{{group}} handled": "sum by (group) (rate(consumer_handled_events_total[$__rate_interval]))",
            },
        ),
        Panel(
            "Events in one transaction",
            "short",
            {
                "{{group}}": "sum by (group) (rate(consumer_batch_events_sum[$__rate_interval]))"
                " / sum by (group) (rate(consumer_batch_events_count[$__rate_interval]))"
            },
        ),
        Panel(
            "Given up, and waiting for a retry",
            "short",
            {
                "{{group}} dead letters": "sum by (group) (max by (group, type, state) (dead_letters))",
                "{{group}} parked keys": "sum by (group) (consumer_parked_keys)",
            },
        ),
    ),
    "Processes": (
        Panel(
            "Database connections",
            "short",
            {"{{job}} {{state}}": f"sum by (job, state) (db_pool_connections{{{_SERVICES}}})"},
        ),
        Panel("Memory", "bytes", {"{{job}}": f"sum by (job) (process_resident_memory_bytes{{{_SERVICES}}})"}),
        Panel(
            "CPU",
            "percentunit",
            {"{{job}}": f"sum by (job) (rate(process_cpu_seconds_total{{{_SERVICES}}}[$__rate_interval]))"},
        ),
        Panel("Event loop lag, p99", "s", {"{{job}}": _quantile(0.99, "event_loop_lag_seconds", "job")}),
        Panel(
            "Cache hits",
            "percentunit",
            {
                "{{job}}": f'sum by (job) (rate(cache_requests_total{{{_SERVICES},result="hit"}}[$__rate_interval]))'
                f" / sum by (job) (rate(cache_requests_total{{{_SERVICES}}}[$__rate_interval]))"
            },
        ),
        Panel("Processes up", "short", {"{{job}}": f"sum by (job) (up{{{_SERVICES}}})"}),
    ),
    "Mesh": (
        Panel("Envoy", "reqps", {"{{listener}}": "sum by (listener) (rate(mesh_envoy_requests[$__rate_interval]))"}),
        Panel(
            "Registered",
            "short",
            {"instances": "max(mesh_instances)", "operations claimed twice": "max(mesh_route_conflicts)"},
        ),
        Panel(
            "Configuration",
            "short",
            {
                "Envoy live": "min(mesh_envoy_live)",
                "subscriptions behind": "max(mesh_subscriptions_behind)",
                "updates refused": "max(mesh_envoy_refused_updates)",
            },
        ),
    ),
}


def dashboard() -> str:
    """The dashboard as JSON, to be imported or provisioned."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, charts in ROWS.items():
        panels.append(
            {"type": "row", "title": row, "collapsed": False, "panels": [], "gridPos": _place(0, y, WIDTH, 1)}
        )
        width = WIDTH // 3
        for number, chart in enumerate(charts):
            place = _place(number % 3 * width, y + 1 + number // 3 * HEIGHT, width, HEIGHT)
            panels.append(_chart(chart, place))
        y += 1 + (len(charts) + 2) // 3 * HEIGHT
    document = {
        "uid": "tradewind",
        "title": "Tradewind",
        "tags": ["tradewind"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": REFRESH,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "graphTooltip": 1,
        "templating": {"list": [_datasource(), _services()]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, start=1)],
    }
    return json.dumps(document, indent=2) + "\n"


def queries() -> list[str]:
    """Every query of the dashboard."""
    return [query for charts in ROWS.values() for chart in charts for query in chart.queries.values()]


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _chart(chart: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": chart.title,
        "description": chart.said,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": chart.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend}
            for number, (legend, expression) in enumerate(chart.queries.items())
        ],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _services() -> dict[str, Any]:
    return {
        "name": "service",
        "label": "Service",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": "label_values(tradewind_build_info, job)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".+-service",
        "current": {"text": "All", "value": "$__all"},
    }
