"""The benchmark of the audit, on a few orders: the whole way, from a running platform to its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradewind.bench import audit


@pytest.mark.timeout(180)
def test_a_grown_platform_starts_again_and_is_audited(tmp_path: Path) -> None:
    said: list[str] = []
    taken, memory = audit.measure(tmp_path / "state", said.append, orders=100)
    assert taken.name == "audit of 100 orders"
    assert taken.value > 0
    assert memory.value > 10
    assert any("order_service" in line for line in said)
