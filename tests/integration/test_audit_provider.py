"""I2 by the provider's list of charges: a fake list for each way in which it may differ, and the real sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.integration.audit_lab import Lab, Listed
from tests.integration.audit_lab import lab as lab  # noqa: PLC0414 - a fixture
from tests.sandbox_process import API_KEY, Sandbox
from tradewind.audit.provider import SandboxCharges
from tradewind.audit.sources import Charge
from tradewind.chassis.ids import new_id
from tradewind.services.payment.domain.unwanted import id_of_unwanted
from tradewind.stack.ports import free_port

Change = Callable[[Charge], list[Charge]]


def changed(lab: Lab, name: str, change: Change) -> Listed:
    """The true list with something else in place of an order's charge."""
    attempt_id = lab.story[f"{name}_attempt"]
    assert attempt_id in {charge.attempt_id for charge in lab.charges}
    listed = [change(charge) if charge.attempt_id == attempt_id else [charge] for charge in lab.charges]
    return Listed(*(charge for charges in listed for charge in charges))


CHANGES: dict[str, tuple[str, Change]] = {
    "the provider has no such charge": ("confirmed", lambda charge: []),
    "it charged twice": ("confirmed", lambda charge: [charge, replace(charge, id="ch_2", attempt_id=new_id())]),
    "it charged twice for one key": ("confirmed", lambda charge: [charge, replace(charge, id="ch_2")]),
    "it charged twice, and gave one back": (
        "confirmed",
        lambda charge: [charge, replace(charge, id="ch_2", refunded_minor=charge.captured_minor)],
    ),
    "it took a cent more": ("confirmed", lambda charge: [replace(charge, captured_minor=charge.captured_minor + 1)]),
    "it took another currency": ("confirmed", lambda charge: [replace(charge, currency="USD")]),
    "it gave back what nobody refunded": ("confirmed", lambda charge: [replace(charge, refunded_minor=1)]),
    "it kept what was refunded": ("partly", lambda charge: [replace(charge, refunded_minor=0)]),
    "it kept a wrong charge that we think is undone": ("misquoted", lambda charge: [replace(charge, refunded_minor=0)]),
}


@pytest.mark.parametrize("name", CHANGES, ids=lambda name: name.replace(" ", "_"))
async def test_what_the_provider_says_otherwise_is_named(lab: Lab, name: str) -> None:
    order, change = CHANGES[name]
    report = await lab.audit(provider=changed(lab, order, change))
    assert [violation.invariant for violation in report.violations] == ["I2"]
    assert report.violations[0].subject == f"order {lab.story[order]}"


@pytest.mark.parametrize("attempt_id", ["", "not-an-id", "01890a5d-ac96-774b-bcce-b302099a8057"])
async def test_a_charge_that_we_never_asked_for_is_named(lab: Lab, attempt_id: str) -> None:
    stranger = Charge(
        id="ch_x", attempt_id=attempt_id, order_id="o-1", captured_minor=5, refunded_minor=0, currency="EUR"
    )
    report = await lab.audit(provider=Listed(*lab.charges, stranger))
    assert [(violation.invariant, violation.subject) for violation in report.violations] == [("I2", "order o-1")]
    assert "ch_x" in report.violations[0].detail


async def test_a_charge_of_an_attempt_that_failed_is_named(lab: Lab) -> None:
    late = Charge(
        id="ch_late", attempt_id=lab.story["declined_attempt"], order_id=lab.story["declined"], captured_minor=2700,
        refunded_minor=0, currency="EUR",
    )  # fmt: skip
    report = await lab.audit(provider=Listed(*lab.charges, late))
    assert [(violation.invariant, violation.subject) for violation in report.violations] == [
        ("I2", f"order {lab.story['declined']}")
    ]
    assert "failed" in report.violations[0].detail


async def test_a_charge_that_was_undone_is_no_violation(lab: Lab) -> None:
    undone = [charge for charge in lab.charges if charge.attempt_id == lab.story["misquoted_attempt"]]
    assert [charge.captured_minor - charge.refunded_minor for charge in undone] == [0]
    assert (await lab.audit()).clean


async def test_a_second_charge_that_our_books_say_went_back_is_no_violation(lab: Lab) -> None:
    def twice(refunded: Callable[[Charge], int]) -> Listed:
        return changed(
            lab, "confirmed", lambda charge: [charge, replace(charge, id="ch_2", refunded_minor=refunded(charge))]
        )

    async with lab.copies("payment") as urls:
        await lab.spoil(
            urls["payment"],
            f"""
            INSERT INTO ledger_transaction
                (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
            SELECT cause, '{id_of_unwanted("ch_2")}', '{{confirmed_payment}}', debit, credit, 5, 'EUR'
            FROM (VALUES ('mismatch', 'psp_clearing', 'suspense'), ('mismatch_undone', 'suspense', 'psp_clearing'))
                AS booked (cause, debit, credit)
            """,
        )
        assert (await lab.audit(provider=twice(lambda charge: charge.captured_minor), **urls)).clean
        report = await lab.audit(provider=twice(lambda charge: charge.captured_minor - 1), **urls)
        assert [violation.invariant for violation in report.violations] == ["I2"]


async def test_money_of_a_second_charge_that_waits_to_go_back_is_named_as_that(lab: Lab) -> None:
    async with lab.copies("payment") as urls:
        await lab.spoil(
            urls["payment"],
            """
            INSERT INTO ledger_transaction
                (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
            VALUES ('mismatch', gen_random_uuid(), '{confirmed_payment}', 'psp_clearing', 'suspense', 5, 'EUR')
            """,
        )
        report = await lab.audit(**urls)
    (violation,) = report.violations
    assert (violation.invariant, violation.subject) == ("I2", f"payment {lab.story['confirmed_payment']}")
    assert violation.detail == "suspense holds 5 EUR of a charge that nobody wants"


async def test_what_is_under_way_may_differ(lab: Lab) -> None:
    """An attempt whose outcome we do not know yet, a late charge that is looked for, a refund that was asked for."""
    async with lab.copies("payment") as urls:
        await lab.spoil(
            urls["payment"],
            "UPDATE attempt SET status = 'processing', created_at = now() WHERE id = '{waiting_attempt}'",
            "UPDATE attempt SET due_at = now() + interval '1 minute' WHERE id = '{let_go_attempt}'",
            "UPDATE payment SET refunding_minor = 5 WHERE id = '{confirmed_payment}'",
            """
            INSERT INTO refund (id, payment_id, amount_minor, reason, requested_by)
            VALUES (gen_random_uuid(), '{confirmed_payment}', 5, 'test', 'test')
            """,
        )
        under_way = [
            Charge(
                id=f"ch_{name}", attempt_id=lab.story[f"{name}_attempt"], order_id=lab.story[name],
                captured_minor=2700, refunded_minor=0, currency="EUR",
            )
            for name in ("waiting", "let_go")
        ]  # fmt: skip
        given_back = changed(lab, "confirmed", lambda charge: [replace(charge, refunded_minor=5)])
        charges = await given_back.charges()
        report = await lab.audit(provider=Listed(*charges, *under_way), **urls)
        assert report.violations == []
        assert len(report.left_out) == 2
        too_much = changed(lab, "confirmed", lambda charge: [replace(charge, refunded_minor=6)])
        report = await lab.audit(provider=too_much, **urls)
        assert [violation.invariant for violation in report.violations] == ["I2"]


async def test_the_real_sandbox(lab: Lab, tmp_path: Path) -> None:
    sandbox = Sandbox(shutil.copytree(lab.sandbox_state, tmp_path / "psp"))
    try:
        await sandbox.start()
        provider = SandboxCharges(sandbox.url, API_KEY)
        report = await lab.audit(provider=provider)
        assert (report.clean, report.complete) == (True, True)
        answer = await sandbox.charge("once-more", reference=lab.story["confirmed"])
        assert answer.status == 201
        report = await lab.audit(provider=provider)
        assert [violation.invariant for violation in report.violations] == ["I2"]
        assert report.violations[0].subject == f"order {lab.story['confirmed']}"
        assert answer.body["id"] in report.violations[0].detail
    finally:
        await sandbox.close()


@pytest.mark.parametrize("key", [API_KEY, "sk_wrong"])
async def test_a_provider_that_cannot_be_asked_is_said_and_not_passed_over(lab: Lab, key: str) -> None:
    sandbox = Sandbox(lab.sandbox_state.with_name(f"psp-{key}"))
    try:
        if key != API_KEY:
            await sandbox.start()
        report = await lab.audit(provider=SandboxCharges(f"http://127.0.0.1:{sandbox.port or free_port()}", key))
    finally:
        await sandbox.close()
    assert (report.clean, report.complete) == (True, False)
    assert len(report.not_seen) == 1
    assert "psp-sandbox" in report.not_seen[0]


async def test_of_charges_at_another_provider_it_says_that_it_did_not_look(lab: Lab) -> None:
    """Whose list is read is a setting of the audit's: that it names another provider takes no customer's money."""
    listed = Listed()
    listed.name = "stripe"
    report = await lab.audit(provider=listed)
    assert (report.violations, report.complete) == ([], False)
    [sentence] = report.not_seen
    assert "charges at sandbox: the list that was read is that of stripe" in sentence
