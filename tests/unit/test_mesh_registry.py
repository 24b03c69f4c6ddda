"""Leases, restarts and the file behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tradewind.mesh.description import Registration
from tradewind.mesh.identity import RoomIdentities, room_token
from tradewind.mesh.registries import local as module
from tradewind.mesh.registries.local import LEASE_S, OWN_PAUSE_S, LeaseUnknown, LocalRegistry, RegistryFull
from tradewind.mesh.state_file import StateFile


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "deep" / "registry.json")


@pytest.fixture
async def registry(file: StateFile, time: Time) -> LocalRegistry:
    return LocalRegistry(file, monotonic_s=time)


def registration(instance: str = "order-1", **more: Any) -> Registration:
    room = instance.partition("-")[0]
    body = {
        "service": f"{room}-service", "room": room, "instance": instance, "address": "127.0.0.1", "port": 1000,
        "management_port": 1001, "routes": [{"path": "/v1/orders", "methods": ["GET"]}], "openapi": {"paths": {}}, **more,
    }  # fmt: skip
    return msgspec.convert(body, type=Registration)


def pass_time(registry: LocalRegistry, time: Time, seconds: float) -> list[str]:
    """Let time pass as it does for a process that is awake; all instances that ended."""
    ended = []
    for _ in range(int(seconds * 2)):
        time.now_s += 0.5
        ended += registry.sweep()
    return ended


async def test_a_lease_runs_out_unless_it_is_renewed(registry: LocalRegistry, time: Time) -> None:
    kept, lost = registry.register(registration("order-1")), registry.register(registration("order-2"))
    assert kept.lease_s == LEASE_S
    assert pass_time(registry, time, 6) == []
    registry.renew("order-1", kept.lease_id)
    assert pass_time(registry, time, 6) == ["order-2"]
    assert [instance.instance for instance in registry.services()["order-service"].instances] == ["order-1"]
    with pytest.raises(LeaseUnknown):
        registry.renew("order-2", lost.lease_id)


async def test_only_the_present_lease_can_be_renewed(registry: LocalRegistry) -> None:
    old = registry.register(registration())
    new = registry.register(registration(port=2000))
    with pytest.raises(LeaseUnknown):
        registry.renew("order-1", old.lease_id)
    registry.renew("order-1", new.lease_id)
    (instance,) = registry.instances()
    assert instance.port == 2000


async def test_a_registry_that_slept_blames_nobody(registry: LocalRegistry, time: Time) -> None:
    registry.register(registration())
    registry.sweep()
    time.now_s += max(60.0, OWN_PAUSE_S)
    assert registry.sweep() == []
    assert pass_time(registry, time, LEASE_S - 1) == []
    assert pass_time(registry, time, 2) == ["order-1"]


async def test_listeners_hear_of_changes_and_not_of_heartbeats(registry: LocalRegistry) -> None:
    heard: list[int] = []
    registry.on_change(lambda: heard.append(len(registry.instances())))
    lease = registry.register(registration())
    registry.renew("order-1", lease.lease_id)
    assert registry.deregister("order-1")
    assert not registry.deregister("order-1")
    assert heard == [1, 0]


async def test_a_service_is_remembered_without_instances(registry: LocalRegistry) -> None:
    registry.register(registration(openapi={"paths": {"/v1/orders": {}}}))
    registry.deregister("order-1")
    known = registry.services()["order-service"]
    assert known.instances == ()
    assert [route.path for route in known.routes] == ["/v1/orders"]
    assert known.openapi == {"paths": {"/v1/orders": {}}}


async def test_a_restart_restores_everything_with_a_fresh_term(file: StateFile, time: Time) -> None:
    first = LocalRegistry(file, monotonic_s=time)
    async with first.running():
        lease = first.register(registration("order-1"))
        first.register(registration("auth-1"))
    time.now_s = 5.0  # another boot, another clock
    second = LocalRegistry(file, monotonic_s=time)
    assert second.services() == first.services()
    assert second.services()["order-service"].since < second.services()["auth-service"].since
    with pytest.raises(LeaseUnknown):  # so that the instance says again what it serves
        second.renew("order-1", lease.lease_id)
    assert pass_time(second, time, LEASE_S - 1) == []
    assert sorted(pass_time(second, time, 2)) == ["auth-1", "order-1"]


async def test_every_change_is_on_disk_soon(file: StateFile, time: Time) -> None:
    registry = LocalRegistry(file, monotonic_s=time)
    async with registry.running():
        assert file.read() is None
    assert LocalRegistry(file, monotonic_s=time).instances() == []
    async with registry.running():
        registry.register(registration())
    assert len(LocalRegistry(file, monotonic_s=time).instances()) == 1


async def test_a_broken_file_is_set_aside_and_not_lost(file: StateFile, time: Time) -> None:
    file.write(b"{ half a")
    assert LocalRegistry(file, monotonic_s=time).services() == {}
    assert file.path.with_name("registry.json.broken").read_bytes() == b"{ half a"


async def test_there_is_an_end_to_it(registry: LocalRegistry) -> None:
    for number in range(module.MAX_INSTANCES):
        registry.register(registration(f"order-{number}"))
    with pytest.raises(RegistryFull):
        registry.register(registration("order-x"))
    registry.register(registration("order-0", port=2000))  # a known one may say something new


def test_a_file_is_replaced_whole_and_only_ours_to_read(file: StateFile) -> None:
    file.write(b"one")
    file.write(b"two")
    assert file.read() == b"two"
    assert [path.name for path in file.path.parent.iterdir()] == ["registry.json"]
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_names_bind_room_service_and_instance() -> None:
    assert registration().faults() == []
    assert len(msgspec.structs.replace(registration(), service="auth-service", instance="auth-1").faults()) == 2
    for wrong in ({"room": "Order"}, {"room": "a-b"}, {"room": ""}, {"address": "a/b"}, {"instance": "order_1"}):
        with pytest.raises(msgspec.ValidationError):
            registration(**wrong)


def test_a_token_is_of_one_room() -> None:
    identities = RoomIdentities("secret")
    token = room_token("secret", "order")
    assert identities.is_token_of(token, "order")
    assert not identities.is_token_of(token, "payment")
    assert not identities.is_token_of("", "order")
    assert not identities.is_token_of("é" * 64, "order")
    assert identities.room_of(token, ["auth", "order"]) == "order"
    assert identities.room_of(token, ["auth"]) is None
    with pytest.raises(ValueError, match="empty"):
        RoomIdentities("")
