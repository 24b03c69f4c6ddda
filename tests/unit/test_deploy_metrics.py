"""Dashboard and alerts ask only for metrics and labels that the code registers."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradewind.deploy.dashboard import ROWS, dashboard, queries

REPOSITORY = Path(__file__).parents[2]
ALERTS = REPOSITORY / "infrastructure/monitoring/prometheus/alerts.yml"
FROM_PROMETHEUS = {"job", "instance"}
"""Labels that the scrape configuration gives everything."""

_WORDS = frozenset(
    ["and", "or", "unless", "on", "ignoring", "group_left", "group_right", "bool", "offset", "by", "without"]
)
_BY_OTHERS: dict[str, set[str]] = {
    "up": set(),
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "kube_job_status_failed": {"job_name"},
    "kube_cronjob_status_last_successful_time": {"cronjob"},
}
"""Of Prometheus itself, its client's ProcessCollector, and kube-state-metrics."""

_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")


def registered() -> dict[str, set[str]]:
    """Series -> labels, from every `counter(...)`, `gauge(...)`, `histogram(...)` and `watch(...)` with literal names."""
    found: dict[str, set[str]] = dict(_BY_OTHERS)
    for path in (REPOSITORY / "src/tradewind").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
                continue
            kind, name = call.func.attr, call.args[0]
            if kind not in ("counter", "gauge", "histogram", "watch") or not isinstance(name, ast.Constant):
                continue
            for series in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""]):
                labels = set(_labels(call)) | ({"le"} if series == "_bucket" else set())
                found.setdefault(f"{name.value}{series}", set()).update(labels)
    return found


def _labels(call: ast.Call) -> Iterator[str]:
    """Label names are literal: a tuple, or the keys of a dictionary."""
    for argument in call.args[2:]:
        if isinstance(argument, ast.Tuple):
            yield from (str(item.value) for item in argument.elts if isinstance(item, ast.Constant))
        if isinstance(argument, ast.Dict):
            yield from (str(key.value) for key in argument.keys if isinstance(key, ast.Constant))
        if isinstance(argument, ast.Name) and argument.id == "labels":
            yield from ("group", "topic")  # watch_consumer


REGISTERED = registered()


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def series_of(query: str) -> set[str]:
    """The names of the series in a query: what is left of it without labels, ranges, numbers and functions."""
    bare = _SELECTOR.sub(r"\1 ", query)
    bare = _GROUPING.sub(" ", bare)
    bare = re.sub(r"\[[^\]]*\]|\$\w+|\b\d+(?:\.\d+)?\w*\b", " ", bare)
    names = re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)
    return {name for name in names if name not in _WORDS}


def labels_of(query: str) -> set[str]:
    """The names of the labels in a query."""
    matchers = " ".join(selector for _, selector in _SELECTOR.findall(query))
    matched = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
    grouped = {name.strip() for names in _GROUPING.findall(query) for name in names.split(",")}
    return matched | grouped


@pytest.mark.parametrize("query", [*queries(), *(rule["expr"] for rule in alerts())])
def test_a_query_asks_for_what_there_is(query: str) -> None:
    asked = series_of(query)
    assert asked, query
    assert asked <= set(REGISTERED), asked - set(REGISTERED)
    known = FROM_PROMETHEUS | {label for series in asked for label in REGISTERED[series]}
    assert labels_of(query) <= known, labels_of(query) - known


def test_a_query_is_read_rightly() -> None:
    query = 'sum by (job) (rate(a_total{job=~"x",status="5xx"}[5m])) / on (job) sum(b offset 10m) > 0.5 or vector(0)'
    assert series_of(query) == {"a_total", "b"}
    assert labels_of(query) == {"job", "status"}


def test_every_alert_says_whom_it_calls_and_why() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    for rule in alerts():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
    operating = (REPOSITORY / "docs/operating/deploy.md").read_text()
    assert [name for name in names if f"`{name}`" not in operating] == []


def test_charts_do_not_overlap() -> None:
    document = json.loads(dashboard())
    assert len(document["panels"]) == len(ROWS) + sum(len(charts) for charts in ROWS.values())
    cells = [
        (x, y)
        for panel in document["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
