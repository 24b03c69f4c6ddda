"""The policy file: what it changes, and that every mistake in it is named while what was in force stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradewind.mesh.policy import Demand
from tradewind.mesh.policy.file import CODE, PolicyInvalid, overlaid
from tradewind.mesh.policy.source import PolicySource
from tradewind.mesh.policy.table import PolicyTable, our_table
from tradewind.mesh.state_file import StateFile

RIGHT = """
[services.order-service]
balancing = "ring-hash"
retries = { budget_percent = 20 }

[services.order-service.limits]
requests = 10

[routes."POST /v1/orders"]
timeout_s = 5
demands = [{ roles = ["customer"], scopes = ["orders:write"] }]

[[calls]]
caller = "analytics-service"
service = "order-service"
methods = ["GET"]
path = "/v1/orders/{id}"
"""

WRONG = """
colour = "red"

[services.order-service]
balancing = "rind-hash"
conect_timeout_s = 1
mesh_try_s = 20
retries = { budget_percent = 80, most = "three" }

[services.orders]

[services.user-service]
retries = { first_pause_s = 5 }

[routes."FETCH /v1/orders"]
timeout_s = 0

[routes."GET /v1/orders"]
demands = [{ role = "x" }, { roles = ["Über"] }, 3]

[[calls]]
caller = "order-service"
methods = []
"""


def test_a_file_changes_what_it_names_and_nothing_else() -> None:
    ours = our_table()
    table = overlaid(RIGHT, ours)
    order = table.service("order-service")
    assert (order.balancing, order.retries.budget_percent, order.limits.requests) == ("ring-hash", 20, 10)
    assert (order.retries.most, order.limits.pending, order.ejection) == (
        ours.default.retries.most,
        ours.default.limits.pending,
        ours.default.ejection,
    )
    assert table.service("user-service") == ours.service("user-service")
    assert table.route("POST", "/v1/orders").timeout_s == 5
    assert table.route("POST", "/v1/orders").demands == (Demand(roles=("customer",), scopes=("orders:write",)),)
    assert set(ours.permitted_calls()) < set(table.permitted_calls())
    assert overlaid("", ours) == ours


def test_a_file_adds_demands_and_takes_none_away() -> None:
    table = overlaid('[routes."* /v1/ledger/{rest:path}"]\ndemands = [{ roles = ["customer"] }]', our_table())
    assert [demand.roles for demand in table.route("GET", "/v1/ledger/accounts").demands] == [
        ("finance",),
        ("customer",),
    ]


def test_every_mistake_is_named_with_its_place_and_what_is_allowed() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        overlaid(WRONG, PolicyTable())
    faults = caught.value.faults
    assert {fault.code for fault in faults} == {CODE}
    places = [(fault.table, fault.key) for fault in faults]
    assert places == [
        ("", "colour"),
        ("services.order-service", "conect_timeout_s"),
        ("services.order-service", "balancing"),
        ("services.order-service", "retries.budget_percent"),
        ("services.order-service", "retries.most"),
        ("services.orders", ""),
        ("services.user-service", "retries.first_pause_s"),
        ('routes."FETCH /v1/orders"', ""),
        ('routes."FETCH /v1/orders"', "timeout_s"),
        ('routes."GET /v1/orders"', "demands[0].role"),
        ('routes."GET /v1/orders"', "demands[1].roles"),
        ('routes."GET /v1/orders"', "demands[2]"),
        ("calls, number 1", "methods"),
        ("calls, number 1", "service"),
        ("calls, number 1", "path"),
    ]
    said = {fault.key: str(fault) for fault in faults}
    assert "did you mean connect_timeout_s?" in said["conect_timeout_s"]
    assert "allowed: one of 'least-request', 'ring-hash', 'round-robin'" in said["balancing"]
    assert "allowed: a number above 0 up to 25" in said["retries.budget_percent"]
    assert "5.0 is more than retries.longest_pause_s, 0.25" in said["retries.first_pause_s"]


@pytest.mark.parametrize(
    "text", ["[services", "services = 3", "routes = []", "calls = {}", "[services]\norder-service = 1"]
)
def test_what_is_no_table_is_a_mistake(text: str) -> None:
    with pytest.raises(PolicyInvalid):
        overlaid(text, PolicyTable())


def source(folder: Path) -> PolicySource:
    return PolicySource(our_table(), folder / "policy.toml", StateFile(folder / "state/policy.toml"))


def test_a_wrong_file_leaves_what_was_in_force_and_a_mended_one_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(RIGHT)
    found = source(tmp_path)
    assert (found.origin, found.faults) == ("file", ())
    right = found.table
    for wrong in (WRONG.encode(), b"\xff", b"a" * (1024 * 1024 + 1)):
        file.write_bytes(wrong)
        assert found.read() is False
        assert found.faults
        assert found.table is right
    file.unlink()
    assert found.read() is False
    assert "cannot be read" in str(found.faults[0])
    assert found.table is right
    file.write_text(RIGHT)
    assert found.read() is False  # the same table as before: nothing to publish
    assert found.faults == ()
    file.write_text(RIGHT.replace("timeout_s = 5", "timeout_s = 4"))
    assert found.read() is True


def test_a_start_with_a_wrong_file_takes_the_last_good_one(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(WRONG)
    first = source(tmp_path)
    assert (first.origin, first.table) == ("built in", our_table())
    assert len(first.faults) > 1
    file.write_text(RIGHT)
    right = source(tmp_path).table
    file.write_text(WRONG)
    again = source(tmp_path)
    assert (again.origin, again.table) == ("last good file", right)
    assert again.faults


def test_without_a_file_our_rows_are_in_force(tmp_path: Path) -> None:
    found = PolicySource(our_table(), None, StateFile(tmp_path / "policy.toml"))
    assert (found.read(), found.table, found.origin, found.file) == (False, our_table(), "built in", "")
