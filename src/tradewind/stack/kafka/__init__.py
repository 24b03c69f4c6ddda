"""Apache Kafka as a process of ours: one broker that is its own controller (KRaft), for tests, faults and figures.

    async with KafkaEngine(folder) as kafka:
        transport = await open_transport(kafka.url, member="test")

`tradewind up` starts none: it takes one by `--kafka`. `python -m tradewind.stack.kafka run` starts one by hand.
"""

from __future__ import annotations

from tradewind.stack.kafka.broker import KafkaEngine
from tradewind.stack.kafka.jars import Installation, fetch, find

__all__ = ["Installation", "KafkaEngine", "fetch", "find"]
