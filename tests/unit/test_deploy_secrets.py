"""The passwords and keys of a deployment: made once, belonging together, readable where they are mounted."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tradewind.chassis.signing import TokenSigner
from tradewind.deploy.containers import every_container
from tradewind.deploy.secret_files import secret_names, write_secrets
from tradewind.mesh.identity import RoomIdentities
from tradewind.stack.errors import StackError
from tradewind.stack.handed_in import make_databases, variable
from tradewind.stack.rooms import all_rooms, rooms_with_database

ROOMS = all_rooms()
NAMES = secret_names(every_container(ROOMS))
FROM_STRIPE = {"stripe_api_key", "stripe_webhook_secret"}
"""Nobody else can make them: their files are empty until an operator fills them."""


def read(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


def test_they_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert sorted(write_secrets(folder, NAMES, ROOMS)) == NAMES
    before = {name: read(folder, name) for name in NAMES}
    assert write_secrets(folder, NAMES, ROOMS) == []
    assert {name: read(folder, name) for name in NAMES} == before
    made = [value for value in before.values() if value]
    assert len(set(made)) == len(made) == len(NAMES) - len(FROM_STRIPE), "no two are the same"
    assert {name for name, value in before.items() if not value} == FROM_STRIPE


def test_a_new_room_gets_its_own_and_no_other_changes(tmp_path: Path) -> None:
    write_secrets(tmp_path, NAMES, ROOMS)
    new = ["review_database_url", "review_migrate_database_url", "review_registry_token"]
    assert write_secrets(tmp_path, [*NAMES, *new], [*ROOMS, "review"]) == new
    assert RoomIdentities(read(tmp_path, "gateway_registry_secret")).is_token_of(
        read(tmp_path, "review_registry_token"), "review"
    )


def test_they_belong_together(tmp_path: Path) -> None:
    write_secrets(tmp_path, NAMES, ROOMS)
    assert urlsplit(read(tmp_path, "postgres_url")).password == read(tmp_path, "postgres_password")
    assert urlsplit(read(tmp_path, "valkey_url")).password == read(tmp_path, "valkey_password")
    assert read(tmp_path, "valkey_conf") == f"requirepass {read(tmp_path, 'valkey_password')}"
    identities = RoomIdentities(read(tmp_path, "gateway_registry_secret"))
    for room in rooms_with_database():
        assert identities.is_token_of(read(tmp_path, f"{room}_registry_token"), room)
        runtime, owner = (
            urlsplit(read(tmp_path, name)) for name in (f"{room}_database_url", f"{room}_migrate_database_url")
        )
        assert (runtime.username, owner.username) == (f"{room}_service", f"{room}_owner")
        assert runtime.path == owner.path == f"/{room}_service"
        assert runtime.password != owner.password
    TokenSigner.load(tmp_path / "auth_signing_keys")


def test_a_servers_own_address_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "postgres_url").write_text("postgresql://admin:pw@db.example.com:6432/postgres?sslmode=require\n")
    write_secrets(tmp_path, NAMES, ROOMS)
    assert read(tmp_path, "bus_url").endswith("@db.example.com:6432/bus?sslmode=require")


def test_the_folder_is_ours_and_its_files_are_readable_in_a_container(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    write_secrets(folder, NAMES, ROOMS)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in NAMES} == {0o444}
    assert read(folder, ".gitignore") == "*"


def test_a_secret_that_nobody_can_make_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="provider_key"):
        write_secrets(tmp_path, ["provider_key"], ROOMS)


def environ(folder: Path) -> dict[str, str]:
    write_secrets(folder, NAMES, ROOMS)
    migrate = every_container(ROOMS)[0].environment
    return {f"{name}_FILE": f"{folder}/{secret}" for name, secret in migrate.secrets.items()}


async def test_provisioning_names_what_is_missing() -> None:
    missing = "TRADEWIND_POSTGRES_URL, BUS_URL, ORDER_DATABASE_URL, ORDER_MIGRATE_DATABASE_URL"
    with pytest.raises(StackError, match=missing):
        await make_databases(["order"], {})


async def test_provisioning_refuses_a_string_for_somebody_elses_role(tmp_path: Path) -> None:
    given = {**environ(tmp_path), "ORDER_DATABASE_URL": "postgresql://payment_service:x@postgres/order_service"}
    with pytest.raises(StackError, match="ORDER_DATABASE_URL does not name"):
        await make_databases(["order"], given)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert variable("BUS_URL", environ(tmp_path)) == read(tmp_path, "bus_url")
    with pytest.raises(StackError, match="BUS_URL_FILE: No such file"):
        variable("BUS_URL", {"BUS_URL_FILE": "nowhere"})
