"""Writing: every message is confirmed by all in-sync replicas before `publish` returns.

One idempotent producer keeps each partition in order through retries. When a publication fails, is cancelled or takes too
long, the producer is thrown away with all it still held: had it gone on by itself, it could have sent the second of two messages
after the first had expired, and the order of a key would be broken. What it had already sent may arrive; it is what
the caller sends again first.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Producer

from tradewind.chassis.transport import Message
from tradewind.chassis.transport.kafka import client, wire
from tradewind.chassis.transport.kafka.address import Address

PUBLISH_TIMEOUT_S = 4.0
"""Below the relay's own."""

LINGER_MS = 0.5
_MAX_QUEUED = 50_000
_MAX_QUEUED_KB = 65_536
_FULL_PAUSE_S = 0.005
_POLL_S = 0.1
_END_S = 1.0


class Publisher:
    """Publishes on one producer at a time; `publish` may be called by any number of tasks."""

    def __init__(self, address: Address, member: str) -> None:
        self._address = address
        self._member = member
        self._current: _Running | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns once all are written to all in-sync replicas. After an error some of them may be.

        Raises:
            Unavailable: `bus-unavailable`.
        """
        running = self._current = self._current or _Running(self._address, self._member)
        waiting = _Waiting(len(messages), asyncio.get_running_loop())
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                for message in messages:
                    while not running.accepts(self._address, message, waiting):
                        await asyncio.sleep(_FULL_PAUSE_S)
                await waiting.done
        except BaseException as exc:
            self._throw_away(running)
            if isinstance(exc, KafkaException):
                raise client.away(self._address, exc) from exc
            if isinstance(exc, TimeoutError):
                why = waiting.error or f"not confirmed within {PUBLISH_TIMEOUT_S:g} s"
                raise client.away(self._address, why) from exc
            raise

    async def close(self) -> None:
        """Give the producer back. What is still being published fails."""
        running, self._current = self._current, None
        if running is not None:
            running.end()
            await asyncio.to_thread(running.thread.join, _END_S)

    def _throw_away(self, running: _Running) -> None:
        running.end()
        if self._current is running:
            self._current = None


class _Running:
    """A producer, and the thread on which it reports deliveries."""

    def __init__(self, address: Address, member: str) -> None:
        self._producer = Producer(
            {
                **client.settings(address, member),
                "enable.idempotence": True,
                "acks": "all",
                # As `partition_of` has it, so that both transports agree.
                "partitioner": "consistent",
                "allow.auto.create.topics": False,
                "linger.ms": LINGER_MS,
                "compression.type": "lz4",
                "queue.buffering.max.messages": _MAX_QUEUED,
                "queue.buffering.max.kbytes": _MAX_QUEUED_KB,
                # We give up all at once, not librdkafka one by one.
                "message.timeout.ms": 0,
                "topic.metadata.propagation.max.ms": 1_000,
            }
        )
        self._ended = threading.Event()
        self.thread = threading.Thread(target=self._serve, name=f"kafka producer {member}", daemon=True)
        self.thread.start()

    def accepts(self, address: Address, message: Message, waiting: _Waiting) -> bool:
        """Queue `message`; False while the queue is full."""
        try:
            self._producer.produce(
                address.outside(message.topic),
                message.value,
                message.key.encode(),
                headers=wire.headers_of(message),
                on_delivery=waiting,
            )
        except BufferError:
            return False
        return True

    def end(self) -> None:
        """Drop what is queued, and stop."""
        self._ended.set()
        self._producer.purge(blocking=False)

    def _serve(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(_POLL_S)
        self._producer.purge()
        self._producer.flush(_END_S)


class _Waiting:
    """Counts deliveries, called for each on the producer's thread; `done` ends with the last one, or fails."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.error: KafkaError | None = None
        self._left = count
        self._loop = loop

    def __call__(self, error: KafkaError | None, _message: object) -> None:
        self._left -= 1
        self.error = self.error or error
        if self._left == 0 or error is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before us
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if self.done.done():
            return
        if self.error is not None:
            self.done.set_exception(KafkaException(self.error))
        else:
            self.done.set_result(None)
