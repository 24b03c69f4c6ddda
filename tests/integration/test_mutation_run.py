"""The mutation check itself, short: a removal that matters is noticed, one that does not is reported as unnoticed."""

from __future__ import annotations

import pytest

from tests.mutation.run import select, without
from tests.mutation.safeguards import Edit, Safeguard

pytestmark = pytest.mark.timeout(300)


def test_a_removed_safeguard_turns_a_test_red() -> None:
    verdict = without(select(["fingerprint-of-the-request"])[0])
    assert [name.rpartition("::")[2] for name in verdict.red] == ["test_another_request_under_the_same_key_is_refused"]


def test_what_no_test_notices_is_not_called_red() -> None:
    idle = Safeguard(
        name="no-safeguard",
        promise="nothing depends on this sentence",
        edits=(Edit(file="chassis/idempotency.py", text="CLEANUP_BATCH = 5_000", becomes="CLEANUP_BATCH = 4_999"),),
        tests=("tests/integration/test_chassis_idempotency.py",),
    )
    verdict = without(idle)
    assert verdict.red == ()
    assert verdict.trouble == ""
