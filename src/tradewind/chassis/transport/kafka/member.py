"""A member of a group: one librdkafka consumer, and the one thread that ever calls it.

The thread serves requests (fetch, commit, ...) one after the other; when nobody asks it still polls, so that the group need
not wait for a member that is busy. A consumer must not be called from two threads: since 2.16 the second waits for as
long as the first keeps polling.

A partition that goes to another member is drained first. librdkafka says so in a callback, and takes the callback's return as
"it may go": so the callback itself goes on serving requests until everything that was handed on has been committed, or
`DRAIN_S` have passed. What lies unasked-for in our buffer is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tradewind.chassis import logs
from tradewind.chassis.transport import Batch, Place, Positions
from tradewind.chassis.transport.kafka import client, wire
from tradewind.chassis.transport.kafka.address import Address
from tradewind.chassis.transport.kafka.holdings import Holdings

SESSION_TIMEOUT_S = 6.0
"""A member that is not heard of for so long is out. The least a broker allows by default."""

HEARTBEAT_S = 0.3
"""Also how soon a member hears that the group is being shared anew."""

MAX_POLL_INTERVAL_S = 45.0
"""A member that does not poll for so long is out: above the time one batch may take."""

DRAIN_S = 5.0
COMMIT_TIMEOUT_S = 5.0
BUFFERED = 2_000
"""Messages that may wait here; while there are so many, nothing more is taken from the broker."""

_CHUNK = 1_000
_SLICE_S = 0.1
_UNASKED_S = 0.5
_DRAINING_S = 0.01
_PROBE_EVERY_S = 0.5
_SHARING_POLL_S = 0.02
_SHARING = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
_log = logs.get_logger("kafka")


@dataclass(frozen=True)
class Request:
    """Something to do on the thread; `answer` gets its result, on the event loop `loop`.

    `makes_way` is what it gets at once when partitions are taken away while it is being done; None: it has to be done first.
    """

    run: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    makes_way: object = None

    def serve(self) -> None:
        """Do it and answer."""
        try:
            self._post(self.run(), None)
        except Exception as exc:
            self._post(None, exc)

    def make_way(self) -> bool:
        """Answer before it is done, where that is allowed; what comes of it afterwards is nobody's."""
        if self.makes_way is not None:
            self._post(self.makes_way, None)
        return self.makes_way is not None

    def _post(self, result: object, error: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before us
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: object, error: Exception | None) -> None:
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)


@dataclass
class _State:
    """What the thread knows, beside the holdings."""

    lost: set[Place] = field(default_factory=set)
    unkept: Positions = field(default_factory=dict)
    away: str = ""
    probe_at_s: float = 0.0
    draining: bool = False
    serving: Request | None = None
    made_way: bool = False


class Member:
    """Joins `group` once it is started. Every method named `do_` is called on the thread, through a `Request`."""

    def __init__(self, address: Address, member: str, group: str, topics: Collection[str]) -> None:
        self.joined = threading.Event()
        self._address = address
        self._group = group
        self._topics = [address.outside(topic) for topic in sorted(topics)]
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._held = Holdings()
        self._state = _State()
        self.thread = threading.Thread(target=self._run, name=f"kafka {group}", daemon=True)
        self._consumer = Consumer(
            {
                **client.settings(address, member),
                "group.id": address.outside(group),
                # Only what changes hands is taken away; all else flows on.
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(SESSION_TIMEOUT_S * 1e3),
                "heartbeat.interval.ms": int(HEARTBEAT_S * 1e3),
                "max.poll.interval.ms": int(MAX_POLL_INTERVAL_S * 1e3),
                # A position is kept after the transaction of the effects, by us.
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
                "fetch.error.backoff.ms": 50,
                # Small queues, looked at often: by default a full one rests for a second.
                "fetch.queue.backoff.ms": 5,
                "queued.min.messages": 2_000,
                "queued.max.messages.kbytes": 8_192,
                "error_cb": self._on_error,
            }
        )

    def ask(self, request: Request) -> None:
        """Have the thread serve `request` in its turn."""
        self._requests.put(request)

    def stop(self) -> None:
        """Leave the group and end the thread."""
        self._stopping.set()

    def do_fetch(self, max_messages: int, timeout_s: float, skip: Collection[Place]) -> Batch:
        """See `Subscription.fetch`."""
        self._set_aside(set(skip))
        deadline_s = time.monotonic() + timeout_s
        polled = False
        while True:
            messages = self._held.take(max_messages, skip)
            lost, self._state.lost = self._state.lost, set()
            if messages or lost:
                return Batch(messages, lost)
            if self._state.away:
                self._look_again()
            if self._state.away:
                raise client.away(self._address, self._state.away)
            left_s = max(0.0, deadline_s - time.monotonic())
            # Whoever does not want to wait gets what is there all the same.
            if self._state.draining:
                time.sleep(min(left_s, _DRAINING_S))
                return Batch([], set())
            if (polled and not left_s) or self._stopping.is_set():
                return Batch([], set())
            self._poll(min(left_s, _SLICE_S))
            polled = True
            if self._state.made_way:
                # Whoever asked has had their answer; what came meanwhile is the next one's.
                self._state.made_way = False
                return Batch([], set())

    def do_commit(self, positions: Positions) -> None:
        """See `Subscription.commit`. As the member we are: a zombie is refused by the broker.

        While the group is being shared anew, the broker refuses all its members; then we take part, and try again.
        """
        deadline_s = time.monotonic() + COMMIT_TIMEOUT_S
        self._state.unkept = positions
        while not self._keep():
            if time.monotonic() > deadline_s:
                raise client.away(self._address, f"positions not kept within {COMMIT_TIMEOUT_S:g} s")
            self._poll(_SHARING_POLL_S, also_when_full=True)

    def do_positions(self) -> Positions:
        """Of each partition we hold, what the group has kept, or 0."""
        places = self._held.places
        kept = self._kept(self._partitions(dict.fromkeys(places, 0))) if places else {}
        return {place: kept.get(place, 0) for place in places}

    def _keep(self) -> bool:
        """Commit what is not kept yet; False where that has to be tried again."""
        # Kafka takes any offset; ours go forward only, and only where we are at home.
        moved = self._held.moved(self._state.unkept)
        try:
            for each in self._consumer.commit(offsets=self._partitions(moved), asynchronous=False) if moved else ():
                if each.error is not None:
                    raise KafkaException(each.error)
        except KafkaException as exc:
            if exc.args[0].code() in _SHARING:
                return False
            raise
        self._held.kept(moved)
        self._state.unkept = {}
        return True

    def _run(self) -> None:
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        while not self._stopping.is_set() or not self._requests.empty():
            try:
                self._serve_one(_SLICE_S if not self.joined.is_set() else _UNASKED_S)
            except Exception as exc:
                _log.error("kafka member failed", group=self._group, exc_info=exc)
                time.sleep(_SLICE_S)
        try:
            self._consumer.close()
        except Exception as exc:
            _log.warning("kafka member did not leave in order", group=self._group, detail=str(exc))

    def _serve_one(self, wait_s: float) -> None:
        try:
            request = self._requests.get(timeout=wait_s)
        except queue.Empty:
            # Nobody asks: look after the group all the same.
            self._poll(0.0)
        else:
            self._state.serving = request
            request.serve()
            self._state.serving = None

    def _poll(self, wait_s: float, *, also_when_full: bool = False) -> None:
        """Take what has come, or comes within `wait_s`; callbacks happen in here."""
        if self._held.count >= BUFFERED and not also_when_full:
            return
        first = self._consumer.poll(wait_s)
        if first is None:
            return
        raws = [first, *self._consumer.consume(_CHUNK, 0)]
        for raw in raws:
            error = raw.error()
            if error is not None:
                _log.warning("kafka read failed", group=self._group, detail=error.str())
        self._held.add(wire.all_delivered(self._address, raws))

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        self._held.gain(map(self._place, partitions))
        try:
            kept = self._kept(partitions) if partitions else {}
            fresh = {place: 0 for place in map(self._place, partitions) if place not in kept}
            if fresh:
                # The group is known from its first moment, not from its first message.
                consumer.commit(offsets=self._partitions(fresh), asynchronous=False)
        except KafkaException as exc:
            _log.warning("kafka positions not read", group=self._group, detail=str(exc))
        self.joined.set()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = [self._place(each) for each in partitions]
        self._held.withhold(places)
        if self._state.serving is not None and self._held.unfinished(places):
            # Who waits for messages in here cannot finish those they have.
            self._state.made_way = self._state.serving.make_way()
        deadline_s = time.monotonic() + DRAIN_S
        self._state.draining = True
        try:
            # We may be here because a commit had to wait for it.
            self._keep()
            while self._held.unfinished(places) and not self._stopping.is_set():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0.0:
                    break
                with contextlib.suppress(queue.Empty):
                    self._requests.get(timeout=left_s).serve()
        finally:
            self._state.draining = False
        self._lose(places, lost=self._held.unfinished(places))
        consumer.incremental_unassign(partitions)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.warning("kafka partitions lost", group=self._group, partitions=len(partitions))
        places = {self._place(each) for each in partitions}
        self._lose(places, lost=places)

    def _lose(self, places: Collection[Place], *, lost: set[Place]) -> None:
        self._held.lose(places)
        self._state.lost |= lost

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its name
            self._state.away = error.str()

    def _look_again(self) -> None:
        now_s = time.monotonic()
        if now_s < self._state.probe_at_s:
            return
        self._state.probe_at_s = now_s + _PROBE_EVERY_S
        with contextlib.suppress(KafkaException):
            self._consumer.list_topics(self._topics[0], timeout=_PROBE_EVERY_S)
            self._state.away = ""

    def _set_aside(self, skip: set[Place]) -> None:
        """Of what is skipped no more must come: it would fill the buffer and keep out the rest."""
        wanted = skip & set(self._held.places)
        with contextlib.suppress(KafkaException):
            if fewer := wanted - self._held.aside:
                self._consumer.pause(self._partitions(dict.fromkeys(fewer, 0)))
            if more := self._held.aside - wanted:
                self._consumer.resume(self._partitions(dict.fromkeys(more, 0)))
        if wanted != self._held.aside:
            self._held.set_aside(wanted)

    def _kept(self, asked: list[TopicPartition]) -> Positions:
        found: Positions = {}
        for each in self._consumer.committed(asked, timeout=client.REQUEST_TIMEOUT_S):
            if each.error is not None:
                raise KafkaException(each.error)
            if each.offset >= 0:
                found[self._place(each)] = each.offset
        return found

    def _partitions(self, positions: Positions) -> list[TopicPartition]:
        return [TopicPartition(self._address.outside(topic), n, offset) for (topic, n), offset in positions.items()]

    def _place(self, partition: TopicPartition) -> Place:
        return (self._address.inside(partition.topic) or partition.topic, partition.partition)
