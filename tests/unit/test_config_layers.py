"""The layers below the live store: default, file, environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tradewind.chassis.config_page import MASK, setting_rows
from tradewind.chassis.settings import SettingsError, load, read_layers
from tradewind.chassis.settings_file import FILE_VARIABLE
from tradewind.services.order.settings import OrderSettings
from tradewind.stack.errors import StackError
from tradewind.stack.room_settings import require_known_sections

NEEDED = {"ORDER_DATABASE_URL": "postgresql://order:hidden@localhost/order_service"}


def with_file(folder: Path, text: str, **environ: str) -> dict[str, str]:
    """An environment that names a file of settings."""
    (folder / "tradewind.toml").write_text(text)
    return {**NEEDED, FILE_VARIABLE: str(folder / "tradewind.toml"), **environ}


def faults_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(OrderSettings, environ)
    return [fault.replace(environ[FILE_VARIABLE], "FILE") for fault in caught.value.faults]


def test_each_layer_wins_over_those_below(tmp_path: Path) -> None:
    text = '[all]\nlog_level = "error"\npool_size = 7\n[order]\npool_size = 8\npending_ttl_s = 600\nexpiry_batch = 9\n'
    environ = with_file(tmp_path, text, ORDER_PENDING_TTL_S="60", ORDER_EXPIRY_BATCH="")
    settings = load(OrderSettings, environ)
    assert settings.log_level == "error"  # of all rooms
    assert settings.pool_size == 8  # the room's own section wins
    assert settings.pending_ttl_s == 60.0  # the environment wins
    assert settings.expiry_batch == 9  # an empty variable says nothing
    assert settings.product_ttl_s == 10.0  # nobody said anything
    rows = {row.key: row for row in setting_rows(OrderSettings, read_layers(OrderSettings, environ), {}, settings)}
    pending = rows["ORDER_PENDING_TTL_S"]
    assert (pending.value, pending.origin) == ("60.0", "environment")
    assert pending.layers == {"environment": "60", "file": "600"}
    assert rows["ORDER_POOL_SIZE"].origin == "file"
    assert rows["ORDER_PRODUCT_TTL_S"].origin == "default"


def test_a_variable_from_a_file_of_its_own_is_the_environment(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("30\n")
    text = "[order]\npending_ttl_s = 600\n"
    assert load(
        OrderSettings, with_file(tmp_path, text, ORDER_PENDING_TTL_S_FILE=str(tmp_path / "value"))
    ).pending_ttl_s == pytest.approx(30)


def test_secrets_are_masked_wherever_they_stand() -> None:
    layers = read_layers(OrderSettings, NEEDED)
    rows = setting_rows(OrderSettings, layers, {}, load(OrderSettings, NEEDED))
    assert "hidden" not in repr(rows)
    url = next(row for row in rows if row.key == "ORDER_DATABASE_URL")
    assert (url.value, url.layers, url.secret) == (MASK, {"environment": MASK}, True)


def test_every_fault_of_the_file_is_named(tmp_path: Path) -> None:
    text = '[all]\nlog_levl = "debug"\n[order]\npending_ttl = 5\nport = [1]\ndatabase_url = "postgresql://x"\n'
    assert faults_of(with_file(tmp_path, text)) == [
        "FILE: [all] log_levl: there is no such setting. Did you mean log_level?",
        "FILE: [order] pending_ttl: there is no such setting. Did you mean pending_ttl_s, shipping_ttl_s?",
        "FILE: [order] port: list is neither text, number nor boolean",
        "FILE: [order] database_url: is a secret, and a file of settings is no place for one; set ORDER_DATABASE_URL_FILE",
    ]


def test_a_value_of_the_file_is_held_to_the_bounds(tmp_path: Path) -> None:
    (fault,) = faults_of(with_file(tmp_path, "[order]\nexpiry_batch = 0\n"))
    assert fault.startswith("ORDER_EXPIRY_BATCH: '0' does not fit")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log_level = 'debug'\n", "stands in no section"),
        ("[order\n", "is no TOML"),
        ("[ordr]\nx = 1\n", "Did you mean order?"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    environ = with_file(tmp_path, text)
    with pytest.raises(StackError, match=re.escape(said)):
        require_known_sections(environ, ("gateway", "order"))


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    (fault,) = faults_of({**NEEDED, FILE_VARIABLE: str(tmp_path / "none.toml")})
    assert "cannot be read: No such file" in fault
