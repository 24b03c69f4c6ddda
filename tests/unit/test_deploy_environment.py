"""What a container reads is what its settings class asks for: complete, and with secrets in files only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest

from tradewind.chassis.instance import MAX_LENGTH, instance_name
from tradewind.chassis.settings import Secret, ServiceSettings, Setting, SettingsError, describe, load
from tradewind.deploy.containers import every_container, gateway, service
from tradewind.deploy.environment import Adjustable, DeployError, Environment, room_environment, settings_answers
from tradewind.deploy.secret_files import secret_names, write_secrets
from tradewind.stack.room_settings import settings_class
from tradewind.stack.rooms import all_rooms

ROOMS = all_rooms()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    write_secrets(folder, secret_names(every_container(ROOMS)), ROOMS)
    return folder


def as_set(environment: Environment, folder: Path) -> dict[str, str]:
    values = environment.mounted(str(folder))
    return {name: value.default if isinstance(value, Adjustable) else value for name, value in values.items()}


@pytest.mark.parametrize("room", ROOMS)
def test_a_rooms_settings_load_from_its_containers_environment(room: str, secrets: Path) -> None:
    environ = {**as_set(room_environment(room), secrets), "TRADEWIND_ENV": "dev"}
    settings = load(settings_class(room), environ)
    assert (settings.host, settings.port, settings.management_port) == ("0.0.0.0", 8000, 9000)
    assert settings.instance == "", "replicas share all of this, so each is named after its host"


def test_production_takes_money_through_stripe(tmp_path: Path) -> None:
    for name, content in {"stripe_api_key": "rk_live_1", "stripe_webhook_secret": "whsec_1"}.items():
        (tmp_path / name).write_text(f"{content}\n")
    write_secrets(tmp_path, secret_names(every_container(ROOMS)), ROOMS)
    environ = as_set(room_environment("payment"), tmp_path)
    assert environ["TRADEWIND_ENV"] == "prod"
    with pytest.raises(SettingsError, match=r"^PAYMENT_STRIPE_RETURN_URL: missing[^\n]*$"):
        load(settings_class("payment"), environ)
    settings = load(settings_class("payment"), environ | {"PAYMENT_STRIPE_RETURN_URL": "https://shop.example.test/"})
    assert getattr(settings, "provider", "") == "stripe"


@pytest.mark.parametrize("room", ROOMS)
def test_no_secret_is_a_value(room: str) -> None:
    secret = {row.env for row in describe(settings_class(room)) if row.secret}
    assert secret.isdisjoint(room_environment(room).values)


def test_a_room_mounts_only_what_it_reads() -> None:
    for room in ROOMS:
        others = [other for other in ROOMS if other != room]
        names = room_environment(room).secret_names
        assert [name for name in names if name.startswith(tuple(f"{other}_" for other in others))] == []
    assert gateway().environment.secret_names == ["gateway_registry_secret", "valkey_url"]
    assert "postgres_url" not in service("order").environment.secret_names


def test_a_required_variable_without_an_answer_is_named() -> None:
    class Wanting(ServiceSettings, frozen=True, kw_only=True):
        PREFIX = "WANTING_"
        region: Annotated[str, Setting("Where it runs.")]

    with pytest.raises(DeployError, match=r"wanting requires WANTING_REGION \(Where it runs"):
        settings_answers("wanting", Wanting)


def test_a_required_secret_needs_no_answer() -> None:
    class Wanting(ServiceSettings, frozen=True, kw_only=True):
        PREFIX = "WANTING_"
        licence: Annotated[Secret, Setting("Key of the licence.")]

    assert settings_answers("wanting", Wanting).secrets["WANTING_LICENCE"] == "wanting_licence"


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("3f2a91c0d4e7", "order-3f2a91c0d4e7"),
        ("order-service-6d5f-x7k2p", "order-service-6d5f-x7k2p"),
        ("Laptop.local", "order-laptop-local"),
        ("...", "order-1"),
    ],
)
def test_an_instance_is_named_after_its_host(hostname: str, name: str) -> None:
    assert instance_name("", "order", hostname) == name
    assert instance_name("order-7", "order", hostname) == "order-7"


def test_a_long_host_name_keeps_its_end() -> None:
    name = instance_name("", "order", "a" * 80 + "-x7k2p")
    assert len(name) == MAX_LENGTH
    assert name.startswith("order-a")
    assert name.endswith("-x7k2p")
