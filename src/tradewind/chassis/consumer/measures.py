"""What a consumer shows on /metrics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from tradewind.chassis.consumer.parking import Parking
from tradewind.chassis.deadletters import Standing
from tradewind.chassis.metrics import Metrics

BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
AGE_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Measures:
    """Counters, and `lag` (events by topic) for whoever measures it to set."""

    def __init__(self, metrics: Metrics, group: str, topics: Collection[str], parking: Parking) -> None:
        self.lag: Mapping[str, int] = {}
        self._group = group
        self._handled = metrics.counter("consumer_handled_events", "Events that took effect.", ("group", "type"))
        self._batch = metrics.histogram(
            "consumer_batch_events", "Messages in one transaction.", ("group",), BATCH_BUCKETS
        ).labels(group)
        self._age = metrics.histogram(
            "consumer_effect_seconds",
            "From an event's time to its effect; the oldest event of each batch.",
            ("group",),
            AGE_BUCKETS_S,
        ).labels(group)
        self.dead = metrics.counter("consumer_dead_letters", "Events given up.", ("group",)).labels(group)
        self._standing = metrics.gauge(
            "dead_letters",
            "Dead letters that wait: for an operator, behind another, for a replay.",
            ("group", "type", "state"),
        )
        self._oldest = metrics.gauge("dead_letter_oldest_seconds", "Since when the oldest fails.", ("group",)).labels(
            group
        )
        self._shown: set[tuple[str, str]] = set()
        foreign = metrics.counter(
            "consumer_foreign_events", "Events of a topic that were none of ours and passed over.", ("group", "topic")
        )
        self._foreign = {topic: foreign.labels(group, topic) for topic in topics}
        metrics.watch("consumer_parked_keys", "Keys that wait for a retry.", lambda: len(parking), {"group": group})
        for topic in sorted(topics):
            metrics.watch_consumer(group, topic, lambda topic=topic: float(self.lag.get(topic, 0)))  # type: ignore[misc]

    def handled(self, events_by_type: Mapping[str, int], messages: int) -> None:
        """A transaction took `messages`, of which these events were new."""
        for type_, count in events_by_type.items():
            self._handled.labels(self._group, type_).inc(count)
        self._batch.observe(messages)

    def age(self, now: datetime, event_time: datetime) -> None:
        """An event of `event_time` has just taken effect."""
        self._age.observe(max(0.0, (now - event_time).total_seconds()))

    def foreign(self, topic: str) -> None:
        """An event of a type that nobody here handles was passed over."""
        self._foreign[topic].inc()

    def dead_letters(self, standing: Sequence[Standing]) -> None:
        """The group's open dead letters, as they are in the database: every instance shows the same."""
        ours = [each for each in standing if each.consumer_group == self._group]
        for type_, state in self._shown - {(each.type, each.state) for each in ours}:
            self._standing.labels(self._group, type_, state).set(0)
        for each in ours:
            self._standing.labels(self._group, each.type, each.state).set(each.letters)
            self._shown.add((each.type, each.state))
        self._oldest.set(max((each.oldest_s for each in ours), default=0.0))
