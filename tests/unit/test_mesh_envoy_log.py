"""Reading from Envoy's log why it refused an update."""

from __future__ import annotations

import json

import pytest

from tradewind.mesh.envoy_process import refusal_in


def test_a_refusal_names_the_kind_and_the_reason() -> None:
    line = {"level": "warning", "event": "REST config for /v3/discovery:clusters rejected: no such field: 'a \"b\"'"}
    assert refusal_in(json.dumps(line).encode()) == ("clusters", "no such field: 'a \"b\"'")


@pytest.mark.parametrize(
    "line",
    [
        b"[2026-01-01 00:00:00][1][warning][main] not JSON yet",
        b'{"event":"REST config for /v3/discovery:listeners rejected: not ours"}',
        b'{"event":"all is well"}',
        b'{"message":"no event"}',
        b"",
    ],
)
def test_other_lines_are_none(line: bytes) -> None:
    assert refusal_in(line) is None
