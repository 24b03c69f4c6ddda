"""Apache Kafka's own broker, as tests, faults and figures start it: fetched, checked, killed, started again."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.messaging_parts import until
from tradewind.stack import probe
from tradewind.stack.errors import StackError
from tradewind.stack.kafka import KafkaEngine, jars
from tradewind.stack.ports import free_port


@pytest.fixture
def cached(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of the test's own, with the jars in it."""
    found = jars.find()
    if found is None:
        pytest.skip("not run: KAFKA_BOOTSTRAP names the broker, so none was fetched")
    cache = tmp_path / "cache"
    shutil.copytree(found.folder, cache / found.folder.name)
    monkeypatch.setenv("TRADEWIND_CACHE", str(cache))
    return cache / found.folder.name


async def test_what_was_acknowledged_survives_a_kill(kafka_engine: KafkaEngine) -> None:
    topic = "survives"
    admin = AdminClient({"bootstrap.servers": kafka_engine.bootstrap})
    admin.create_topics([NewTopic(topic, 3)])[topic].result(10)
    producer = Producer({"bootstrap.servers": kafka_engine.bootstrap, "acks": "all", "enable.idempotence": True})
    kept: list[bytes] = []
    for n in range(2_000):
        producer.produce(
            topic, str(n).encode(), on_delivery=lambda error, message: error or kept.append(message.value())
        )
    while len(kept) < 500:
        producer.poll(0.1)
    acknowledged = set(kept)
    pid = kafka_engine.pid
    await kafka_engine.kill()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    await kafka_engine.start()
    reader = Consumer({"bootstrap.servers": kafka_engine.bootstrap, "group.id": "none", "enable.auto.commit": False})
    reader.assign([TopicPartition(topic, n, 0) for n in range(3)])
    found: set[bytes] = set()

    def all_there() -> bool:
        found.update(message.value() for message in reader.consume(500, 0.2))
        return acknowledged <= found

    await until(all_there, within_s=30, what="every acknowledged message")
    reader.close()
    producer.purge()
    producer.flush(5)


async def test_no_topic_comes_to_be_by_being_named(kafka_engine: KafkaEngine) -> None:
    admin = AdminClient({"bootstrap.servers": kafka_engine.bootstrap})
    producer = Producer({"bootstrap.servers": kafka_engine.bootstrap, "message.timeout.ms": 2000})
    failed: list[object] = []
    producer.produce("misspelt", b"x", on_delivery=lambda error, _: failed.append(error))
    await until(lambda: bool(producer.poll(0.1) or failed), within_s=20)
    assert failed[0] is not None
    assert "misspelt" not in admin.list_topics(timeout=10).topics


async def test_a_port_where_no_broker_answers(kafka_engine: KafkaEngine, valkey_url: str) -> None:
    assert await probe.kafka("127.0.0.1", kafka_engine.port)
    assert not await probe.kafka("127.0.0.1", int(valkey_url.rpartition(":")[2].partition("/")[0]), timeout_s=0.3)


async def test_the_broker_of_the_compose_file_starts_with_its_variables(cached: Path, tmp_path: Path) -> None:
    """The image makes `node.id` of KAFKA_NODE_ID and so on; here there is one address for all containers."""
    model = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
    engine = KafkaEngine(tmp_path / "kafka")
    here = {"//:": "//127.0.0.1:", "kafka:": "127.0.0.1:", "9092": str(engine.port), "9093": str(free_port())}
    settings: dict[str, str] = {"inter.broker.listener.name": "PLAINTEXT"}
    for name, value in model["services"]["kafka"]["environment"].items():
        for there, instead in here.items():
            value = value.replace(there, instead)  # noqa: PLW2901
        settings[name.removeprefix("KAFKA_").lower().replace("_", ".")] = value
    settings |= {"log.dirs": str(tmp_path / "kafka/data")}
    del settings["heap.opts"]
    engine._settings = settings
    async with engine:
        admin = AdminClient({"bootstrap.servers": engine.bootstrap})
        assert len(admin.list_topics(timeout=10).brokers) == 1
        assert not admin.list_topics("unheard-of", timeout=10).topics["unheard-of"].partitions


async def test_it_dies_with_whoever_started_it(cached: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tradewind.stack.kafka", "run", "--folder", str(tmp_path / "kafka")]
    person = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert person.stdout is not None
    host, port = (await person.stdout.readline()).decode().strip().removeprefix("KAFKA_BOOTSTRAP=").split(":")
    assert await probe.kafka(host, int(port))
    [broker] = psutil.Process(person.pid).children()
    person.send_signal(signal.SIGKILL)
    await person.wait()
    await until(lambda: not psutil.pid_exists(broker.pid))
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "kafka"}, "something lies beside its folder"


def test_jars_that_are_not_the_locked_ones_are_refused(cached: Path) -> None:
    jars._check(cached)
    with next(cached.glob("kafka_*.jar")).open("ab") as jar:
        jar.write(b"x")
    (cached / "jose4j-0.9.6.jar").unlink()
    (cached / "other-1.0.jar").write_bytes(b"")
    with pytest.raises(StackError, match=r"jose4j-0.9.6.jar, kafka_2.13-4.1.1.jar, other-1.0.jar"):
        jars._check(cached)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    nothing = {"TRADEWIND_CACHE": str(tmp_path), "JAVA_HOME": str(tmp_path)}
    with pytest.raises(StackError, match=r"does not run.*\n.*openjdk-17") as refused:
        jars.fetch(nothing)
    assert "KAFKA_BOOTSTRAP" in refused.value.fix
    assert list(tmp_path.iterdir()) == []
