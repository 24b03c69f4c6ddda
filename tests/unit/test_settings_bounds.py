"""Numbers from the environment: none is taken that would only fail later, under load or at the first timer."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from tradewind.chassis.settings import Settings, SettingsError, describe, load
from tradewind.sandbox.settings import SandboxSettings
from tradewind.services.order.settings import OrderSettings
from tradewind.stack.errors import StackError
from tradewind.stack.room_settings import require_sound, settings_class
from tradewind.stack.rooms import all_rooms

CLASSES: list[type[Settings]] = [SandboxSettings, *(settings_class(room) for room in all_rooms())]
ANY_NUMBER = {"PSP_SANDBOX_SEED"}
"""Means something whatever it is."""


def numbers() -> list[tuple[str, type, Any]]:
    """The variable, the type and the annotation of every number of every process."""
    found = {}
    for kind in CLASSES:
        hints = typing.get_type_hints(kind, include_extras=True)
        for row in describe(kind):
            plain = typing.get_args(hints[row.field])[0]
            if plain in (int, float) and row.env not in ANY_NUMBER:
                found[row.env] = (row.env, plain, hints[row.field])
    return list(found.values())


@pytest.mark.parametrize(("env", "plain", "hint"), numbers(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_number_has_bounds(env: str, plain: type, hint: Any) -> None:
    wrong = [-1, 10**12] if plain is int else [-1.0, 10.0**12, float("inf"), float("nan")]
    for value in wrong:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(str(value), hint, strict=False)


def test_what_is_out_of_bounds_is_named() -> None:
    with pytest.raises(SettingsError) as refused:
        load(OrderSettings, {"ORDER_DATABASE_URL": "postgresql://x/y", "ORDER_POOL_SIZE": "0", "ORDER_PORT": "65536"})
    assert [fault.partition(":")[0] for fault in refused.value.faults] == ["ORDER_PORT", "ORDER_POOL_SIZE"]


def test_what_would_stop_a_process_is_said_before_any_starts() -> None:
    environ = {"LOG_LEVEL": "loud", "ORDER_DATABASE_URL": "postgresql://x/y", "ORDER_POOL_SIZE": "abc"}
    user = settings_class("user")
    with pytest.raises(StackError) as refused:
        require_sound({OrderSettings: environ, user: {**environ, "USER_DATABASE_URL": "postgresql://x/y"}})
    lines = refused.value.problem.splitlines()
    assert [line.split()[0] for line in lines] == ["ORDER_POOL_SIZE:", "LOG_LEVEL:"]
    require_sound({user: {"USER_DATABASE_URL": "postgresql://x/y"}})
