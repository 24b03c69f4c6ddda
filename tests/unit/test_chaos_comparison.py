"""The journal of a fault run against what is found afterwards: each kind of loss and of doubling is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tradewind.audit.sources import Charge
from tradewind.chaos.comparison import MOST, Found, disagreements
from tradewind.chaos.journal import Entry

TOTAL = {"amount_minor": 2_000, "currency": "EUR"}
LINES = [{"sku": "mug", "quantity": 2}]
ANSWER = {"id": "o1", "total": TOTAL, "lines": LINES}
PLACED = Entry(
    act="order", key="k1", subject="ada", path="/v1/orders", body={"lines": LINES}, status=201, answer=ANSWER
)
SHIPPED = Entry(
    act="ship", key="k2", subject="staff", path="/", body={"tracking": "T1"}, order_id="o1", status=200, answer={}
)
REFUNDED = Entry(
    act="refund", key="k3", subject="staff", path="/", order_id="o1", status=201,
    answer={"id": "r1", "amount": {"amount_minor": 500, "currency": "EUR"}},
)  # fmt: skip
REGISTERED = Entry(act="register", key="ada@example.test", subject="", path="/", status=201, answer={"id": "ada"})
TOLD = [PLACED, SHIPPED, REFUNDED, REGISTERED]


def row(**changes: Any) -> dict[str, Any]:
    known = {
        "id": "o1", "customer_id": "ada", "status": "shipped", "lines": '[{"sku": "mug", "quantity": 2}]',
        "total_minor": 2_000, "refunded_minor": 500, "currency": "EUR", "payment_id": "p1",
    }  # fmt: skip
    return known | changes


def charge(**changes: Any) -> Charge:
    known = {"id": "c1", "attempt_id": "a1", "order_id": "o1", "captured_minor": 2_000, "refunded_minor": 500}
    return Charge(**{**known, "currency": "EUR", **changes})


FOUND = Found(
    orders={"o1": row()},
    refunds={"r1": {"id": "r1", "amount_minor": 500, "status": "succeeded", "order_id": "o1"}},
    stored=[("ada", "k1", msgspec.json.encode(ANSWER)), ("staff", "k2", b'{"id": "o1", "lines": []}'), ("x", "y", b"")],
    shipments={"o1": "T1"},
    accounts={"ada": "ada@example.test"},
    profiles=frozenset({"ada"}),
    mails={"<n1@shop>": "then"},
    letters={"<n1@shop>": 1},
    charges=[charge()],
)


def test_what_is_as_it_was_told_is_no_disagreement() -> None:
    assert disagreements(TOLD, FOUND) == []
    unknown = msgspec.structs.replace(PLACED, key="k9", status=0, answer=None)
    assert disagreements([*TOLD, unknown], FOUND) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"orders": {}}, "order o1 was acknowledged .key k1. and is not there"),
        ({"orders": {"o1": row(total_minor=1_999)}}, "not as it was acknowledged"),
        ({"orders": {"o1": row(lines='[{"sku": "mug", "quantity": 1}]')}}, "not as it was acknowledged"),
        ({"orders": {"o1": row(customer_id="eve")}}, "not as it was acknowledged"),
        ({"orders": {"o1": row(), "o2": row(id="o2", status="cancelled")}}, "order o2 has 0 keys: nobody asked for it"),
        ({"stored": []}, "order o1 has 0 keys"),
        ({"stored": [("ada", "k1", msgspec.json.encode(ANSWER | {"id": "o7"}))]}, "k1 was answered with order o1"),
        ({"stored": [*FOUND.stored, ("ada", "k9", msgspec.json.encode(ANSWER))]}, "order o1 has 2 keys"),
        ({"orders": {"o1": row(status="confirmed")}}, "order o1 is confirmed with T1"),
        ({"shipments": {}}, "order o1 is shipped with None"),
        ({"refunds": {}}, "refund r1 of order o1 was acknowledged and is not there"),
        ({"refunds": {"r1": {**FOUND.refunds["r1"], "amount_minor": 50}}}, "refund r1 is of 50"),
        ({"refunds": {"r1": {**FOUND.refunds["r1"], "status": "pending"}}}, "still pending"),
        ({"accounts": {}}, "account ada of ada@example.test was acknowledged"),
        ({"profiles": frozenset()}, "account ada has no profile"),
        ({"charges": []}, "took 0 in 0 charges"),
        ({"charges": [charge(), charge(id="c2")]}, "took 4000 in 2 charges"),
        ({"charges": [charge(refunded_minor=0)]}, "gave 0 back"),
        ({"orders": {"o1": row(status="cancelled")}}, "2000 and gave 500 back|order o1 is cancelled with T1"),
        ({"charges": [charge(), charge(id="c2", order_id="o9")]}, "holds money for an order that is not there: o9"),
        ({"letters": {}}, "arrived 0 times"),
        ({"letters": {"<n1@shop>": 2}}, "arrived 2 times"),
        ({"letters": {"<n1@shop>": 1, "<n2@shop>": 1}}, "no notification has it"),
        ({"mails": {"<n1@shop>": None}}, "sent at None"),
    ],
)  # fmt: skip
def test_each_disagreement_is_told(changes: dict[str, Any], told: str) -> None:
    others = {name: getattr(FOUND, name) for name in FOUND.__struct_fields__}
    entries = [*TOLD, msgspec.structs.replace(PLACED, key="k9", status=0, answer=None)]
    with pytest.raises(AssertionError, match=told):
        assert disagreements(entries, Found(**{**others, **changes})) == []


def test_an_acknowledged_cancellation_is_one() -> None:
    cancelled = msgspec.structs.replace(SHIPPED, act="cancel", key="k5")
    assert [line for line in disagreements([*TOLD, cancelled], FOUND) if "cancellation was acknowledged" in line]
    delivered = msgspec.structs.replace(SHIPPED, act="deliver", key="k6")
    assert [line for line in disagreements([*TOLD, delivered], FOUND) if "delivery was acknowledged" in line]


def test_many_are_counted() -> None:
    lost = [msgspec.structs.replace(PLACED, key=f"k{n}", answer={**ANSWER, "id": f"o{n}"}) for n in range(100, 140)]
    told = [line for line in disagreements([*TOLD, *lost], FOUND) if line.startswith("orders: ")]
    assert len(told) == MOST + 1
    assert told[-1] == "orders: and 20 more"
