"""Kafka addresses, a message's bytes and headers, and what a member holds."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from confluent_kafka import Message as Raw

from tradewind.chassis.ids import is_id, new_id
from tradewind.chassis.transport import Batch, Delivered, Message, open_transport
from tradewind.chassis.transport.kafka.address import parse
from tradewind.chassis.transport.kafka.cluster import Cluster
from tradewind.chassis.transport.kafka.holdings import Holdings
from tradewind.chassis.transport.kafka.subscription import KafkaSubscription
from tradewind.chassis.transport.kafka.wire import delivered, headers_of


@pytest.mark.parametrize(
    ("url", "servers", "prefix"),
    [
        ("kafka://broker", "broker:9092", ""),
        ("kafka://a:9092,b:19092", "a:9092,b:19092", ""),
        ("kafka://[::1]:9092/staging", "[::1]:9092", "staging."),
    ],
)
def test_an_address(url: str, servers: str, prefix: str) -> None:
    address = parse(url)
    assert (address.servers, address.prefix) == (servers, prefix)
    assert address.security == {"security.protocol": "PLAINTEXT"}
    assert address.inside(address.outside("order")) == "order"


def test_who_we_are_and_whom_we_trust() -> None:
    address = parse("kafka+ssl://user:p%40ss@a:9093?sasl=plain&ca=/etc/ca.pem")
    assert address.security == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "user",
        "sasl.password": "p@ss",
        "ssl.ca.location": "/etc/ca.pem",
    }
    assert "p@ss" not in repr(address)


def test_a_prefix_keeps_platforms_apart() -> None:
    ours = parse("kafka://a/blue")
    assert ours.outside("order") == "blue.order"
    assert ours.inside("green.order") is None
    assert parse("kafka://a").inside("__consumer_offsets") is None


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://a:0",
        "kafka://a:b",
        "kafka://a,,b",
        "kafka://a/UP",
        "kafka://a?x=1",
        "kafka://u:secret@a?sasl=md5",
    ],
)
async def test_a_wrong_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        await open_transport(url, member="test")
    assert "secret" not in str(refused.value)


def raw(value: bytes | None, headers: object = None, key: bytes | None = b"k", offset: int = 7) -> Raw:
    return Raw(topic="parcel", partition=3, offset=offset, key=key, value=value, headers=headers)  # type: ignore[arg-type]


def test_a_message_comes_back_as_it_went() -> None:
    sent = Message(
        topic="parcel", key="k", id=new_id(), type="parcel.placed.v1", value=b"{}", headers={"traceparent": "t"}
    )
    headers = [(name, str(value).encode()) for name, value in headers_of(sent)]
    assert ("content-type", b"application/cloudevents+json; charset=UTF-8") in headers
    found = delivered(raw(b"{}", headers), "parcel")
    assert (found.id, found.type, found.key, found.value, found.headers) == (
        sent.id,
        sent.type,
        "k",
        b"{}",
        sent.headers,
    )
    assert (found.partition, found.offset) == (3, 7)


def test_an_event_without_our_headers_says_itself_who_it_is() -> None:
    id_ = new_id()
    value = msgspec.json.encode({"specversion": "1.0", "id": id_, "type": "parcel.placed.v1", "data": {}})
    found = delivered(raw(value), "parcel")
    assert (found.id, found.type) == (id_, "parcel.placed.v1")


@pytest.mark.parametrize("value", [b"\xff\x00", b"[]", b'{"id": 5}', None])
def test_what_is_no_event_gets_an_id_from_where_it_lies(value: bytes | None) -> None:
    first, again = (delivered(raw(value, [("x", None), ("y", b"\xff")], key=None), "parcel") for _ in range(2))
    other = delivered(raw(value, offset=8), "parcel")
    assert is_id(first.id)
    assert first.id == again.id != other.id
    assert (first.key, first.type, first.headers) == ("", "", {"x": "", "y": "\\xff"})


def message(partition: int, offset: int) -> Delivered:
    return Delivered(topic="t", key="k", id="", type="", value=b"", partition=partition, offset=offset)


def test_what_was_handed_on_is_unfinished_until_it_is_kept() -> None:
    held = Holdings()
    held.gain([("t", 0), ("t", 1)])
    held.add([message(0, n) for n in range(5, 8)] + [message(2, 0)])
    assert held.count == 3
    assert [each.offset for each in held.take(2, ())] == [5, 6]
    assert held.unfinished([("t", 0), ("t", 1)]) == {("t", 0)}
    assert held.moved({("t", 0): 5, ("t", 2): 9}) == {}
    held.kept(held.moved({("t", 0): 7}))
    assert held.unfinished([("t", 0)]) == set()
    assert held.moved({("t", 0): 6}) == {}
    held.lose([("t", 0)])
    assert (held.count, held.places) == (0, [("t", 1)])
    # It comes back with another position: what the former life had done is no news to it.
    held.gain([("t", 0)])
    assert held.moved({("t", 0): 9}) == {}


def test_what_is_set_aside_takes_no_room() -> None:
    held = Holdings()
    held.gain([("t", 0), ("t", 1)])
    held.add([message(0, n) for n in range(10)] + [message(1, 0)])
    held.set_aside({("t", 0)})
    assert held.count == 1
    assert [each.partition for each in held.take(5, {("t", 0)})] == [1]
    assert held.count == 0
    held.set_aside(set())
    assert held.count == 10
    held.withhold([("t", 0)])
    assert held.count == 0


async def test_a_fetch_cancelled_in_the_moment_it_brings_something_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    address = parse("kafka://127.0.0.1:1")
    cluster = Cluster(address, "test", new_partitions=1, retention_s=1.0)
    subscription = KafkaSubscription(address, "test", "g", ["t"], cluster)
    answer: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
    answers = iter([answer])
    monkeypatch.setattr(subscription, "_ask", lambda *_, **__: next(answers))
    waiting = asyncio.create_task(subscription.fetch(10, 1.0))
    await asyncio.sleep(0)
    answer.set_result(Batch([message(0, 0)]))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [each.offset for each in (await subscription.fetch(10, 1.0)).messages] == [0]
