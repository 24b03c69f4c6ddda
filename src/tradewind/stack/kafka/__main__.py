"""`python -m tradewind.stack.kafka fetch`, or `run [--folder DIR] [--port N]`: a broker in the foreground."""

from __future__ import annotations

import sys

from tradewind.stack.in_the_foreground import Words, foreground
from tradewind.stack.kafka.broker import KafkaEngine
from tradewind.stack.kafka.jars import fetch

if __name__ == "__main__":
    sys.exit(
        foreground(
            Words("kafka", "the broker's jars", "a broker"),
            lambda: str(fetch().folder),
            lambda folder, port: KafkaEngine(folder, port=port),
            lambda kafka: f"KAFKA_BOOTSTRAP={kafka.bootstrap}",
        )
    )
