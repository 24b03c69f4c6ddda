"""What `up` is told, and what it hands on to the rooms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tradewind.mesh.identity import room_token
from tradewind.stack.administrator import DEFAULT_EMAIL, administrator, remember
from tradewind.stack.detours import ENGINES as DETOURABLE
from tradewind.stack.detours import Detours
from tradewind.stack.errors import StackError
from tradewind.stack.room_environment import Addresses, Surroundings
from tradewind.stack.settings import read_settings
from tradewind.stack.state import ProcessRecord, State


def surroundings(folder: Path, **environ: str) -> Surroundings:
    addresses = Addresses(
        postgres_url="postgresql://admin:secret@db1:5432,db2:5432/postgres?target_session_attrs=read-write",
        valkey_url="redis://:v@127.0.0.1:2/0",
        smtp_url="smtp://127.0.0.1:3",
        edge_host="127.0.0.1",
        edge_port=8080,
        gateway_port=4,
        gateway_management_port=5,
        control_port=6,
        egress_port=7,
        envoy_admin_port=8,
        sandbox_port=9,
    )
    state = State(folder)
    state.create()
    return Surroundings(
        environ=environ,
        rooms=("gateway", "auth", "order", "payment", "notification"),
        addresses=addresses,
        secrets=state.secrets(),
        folder=state.folder,
        administrator={"TRADEWIND_ADMIN_EMAIL": "a@b.test", "TRADEWIND_ADMIN_PASSWORD": "pw"},
    )


def test_flags_win_over_the_environment() -> None:
    assert read_settings({}).port == 8080
    assert read_settings({"TRADEWIND_PORT": "9000"}).port == 9000
    assert read_settings({"TRADEWIND_PORT": "9000"}, port=9001).port == 9001
    assert read_settings({}).url == "http://127.0.0.1:8080"
    assert read_settings({"GATEWAY_EDGE_HOST": "0.0.0.0"}).url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("environ", "port", "named"),
    [
        ({"TRADEWIND_PORT": "http"}, None, "TRADEWIND_PORT 'http'"),
        ({}, 70000, "--port '70000'"),
        ({"TRADEWIND_POSTGRES_URL": "localhost:5432"}, None, "TRADEWIND_POSTGRES_URL"),
        ({"TRADEWIND_VALKEY_URL": "http://x"}, None, "TRADEWIND_VALKEY_URL"),
        ({"TRADEWIND_KAFKA": "http://x"}, None, "TRADEWIND_KAFKA"),
        ({"TRADEWIND_KAFKA": "broker:port"}, None, "TRADEWIND_KAFKA"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], port: int | None, named: str) -> None:
    with pytest.raises(StackError, match=named):
        read_settings(environ, port=port)


def test_kafka_is_named_by_host_and_port_or_by_a_whole_address() -> None:
    assert read_settings({}).kafka_url == ""
    assert read_settings({"TRADEWIND_KAFKA": "a:9092"}).kafka_url == "kafka://a:9092"
    assert read_settings({"TRADEWIND_KAFKA": "a:9092"}, kafka="b:1,c:2").kafka_url == "kafka://b:1,c:2"
    assert read_settings({"TRADEWIND_KAFKA": "kafka+ssl://u:p@a/blue"}).kafka_url == "kafka+ssl://u:p@a/blue"


def test_on_kafka_every_room_gets_its_address(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    on_kafka = replace(around, addresses=replace(around.addresses, kafka_url="kafka://a:9092"))
    assert on_kafka.of_room("order", "order-1", 1, 2)["BUS_URL"] == "kafka://a:9092"
    assert around.of_room("order", "order-1", 1, 2)["BUS_URL"].startswith("postgresql://bus:")


def test_a_room_gets_its_own_database_and_identity(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    environment = around.of_room("order", "order-1", 40001, 40002)
    password = around.secrets.get("order_service")
    assert environment["ORDER_DATABASE_URL"] == (
        f"postgresql://order_service:{password}@db1:5432,db2:5432/order_service?target_session_attrs=read-write"
    )
    assert environment["REGISTRY_TOKEN"] == room_token(around.secrets.get("platform"), "order")
    assert environment["ORDER_PORT"] == "40001"
    assert environment["ORDER_MANAGEMENT_PORT"] == "40002"
    assert environment["ORDER_INSTANCE"] == "order-1"
    assert environment["TRADEWIND_ENV"] == "dev"


def test_a_detour_leads_one_room_around(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    plain = around.of_room("payment", "payment-1", 1, 2)
    ways = {f"payment/{what}": f"127.0.0.1:{9000 + n}" for n, what in enumerate(DETOURABLE)}
    around = replace(around, addresses=replace(around.addresses, detours=Detours(ways)))
    environment = around.of_room("payment", "payment-1", 1, 2)
    changed = {name for name in plain if environment[name] != plain[name]}
    by_room = {"PAYMENT_DATABASE_URL", "BUS_URL", "VALKEY_URL", "MESH_URL", "REGISTRY_URL", "PAYMENT_SANDBOX_URL"}
    assert changed == by_room
    assert all("127.0.0.1:900" in environment[name] for name in changed)
    assert around.of_room("order", "order-1", 1, 2)["BUS_URL"] == plain["BUS_URL"]


def test_the_callers_variables_reach_only_their_room(tmp_path: Path) -> None:
    around = surroundings(
        tmp_path,
        PATH="/bin",
        LOG_LEVEL="debug",
        ORDER_RESERVATION_TTL_S="5",
        ORDER_PORT="1",
        ORDER_MIGRATE_DATABASE_URL="owner",
        PAYMENT_PROVIDER="stripe",
        BUS_URL="elsewhere",
        TRADEWIND_POSTGRES_URL="postgresql://admin:secret@db1/postgres",
        TRADEWIND_ORDER_DATABASE_READ_URL="postgresql://replica/order_service",
    )
    order, payment = around.of_room("order", "order-1", 10, 11), around.of_room("payment", "payment-1", 12, 13)
    assert order["ORDER_RESERVATION_TTL_S"] == "5"
    assert order["LOG_LEVEL"] == payment["LOG_LEVEL"] == "debug"
    assert order["ORDER_PORT"] == "10"
    assert order["BUS_URL"] == around.bus_url
    assert order["ORDER_DATABASE_READ_URL"] == "postgresql://replica/order_service"
    assert payment["PAYMENT_PROVIDER"] == "stripe"
    assert payment["PAYMENT_SANDBOX_URL"] == "http://127.0.0.1:9"
    assert not {"ORDER_RESERVATION_TTL_S", "TRADEWIND_POSTGRES_URL", "PSP_SANDBOX_API_KEY"} & payment.keys()
    assert not {"ORDER_MIGRATE_DATABASE_URL", "TRADEWIND_POSTGRES_URL", "TRADEWIND_ADMIN_PASSWORD"} & order.keys()


def test_only_auth_learns_of_the_administrator(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    assert around.of_room("auth", "auth-1", 1, 2)["TRADEWIND_ADMIN_PASSWORD"] == "pw"
    assert "TRADEWIND_ADMIN_PASSWORD" not in around.of_room("order", "order-1", 1, 2)
    assert "TRADEWIND_ADMIN_PASSWORD" not in around.of_gateway("gateway-1")


def test_the_administrator_is_made_once(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.create()
    made = administrator(state, {})
    assert made.made
    assert made.email == DEFAULT_EMAIL
    assert len(made.password) >= 12
    remember(state, made.email)
    assert administrator(state, {}).environment == {}
    given = administrator(state, {"TRADEWIND_ADMIN_EMAIL": "x@y.test", "TRADEWIND_ADMIN_PASSWORD": "pw"})
    assert given.environment["TRADEWIND_ADMIN_EMAIL"] == "x@y.test"
    assert not given.made
    assert made.password not in "".join(path.read_text() for path in state.folder.glob("*.json"))


def test_half_an_administrator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="TRADEWIND_ADMIN_PASSWORD is not set"):
        administrator(State(tmp_path), {"TRADEWIND_ADMIN_EMAIL": "x@y.test"})


def test_the_state_folder_is_private_and_keeps_its_secrets(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.create()
    assert state.folder.stat().st_mode & 0o777 == 0o700
    secret = state.secrets().get("order_owner")
    assert state.secrets().get("order_owner") == secret
    assert state.secrets().get("bus") != secret
    assert (state.folder / "secrets.enc").stat().st_mode & 0o777 == 0o600
    state.write_processes([ProcessRecord(name="envoy", pid=1, created=2.0)])
    assert state.processes() == [ProcessRecord(name="envoy", pid=1, created=2.0)]
    state.wipe()
    assert state.secrets().get("order_owner") != secret


def test_a_file_that_does_not_read_counts_as_none(tmp_path: Path) -> None:
    state = State(tmp_path)
    (tmp_path / "supervisor.json").write_text('{"pid": ')
    assert state.supervisor() is None


def test_a_long_state_path_gets_a_short_socket(tmp_path: Path) -> None:
    near, far = State(tmp_path / "s"), State(tmp_path / ("x" * 120))
    assert len(str(far.socket_path())) < 100
    assert far.socket_path() == far.socket_path()
    assert far.socket_path().parent.stat().st_mode & 0o777 == 0o700
    far.socket_path().parent.rmdir()
    if len(str(near.folder)) < 80:
        assert near.socket_path().parent == near.folder
