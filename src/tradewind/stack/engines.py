"""The engines that start by themselves, without a stack: what the tests use.

async with PostgresEngine(folder, durable=False) as pg, ValkeyEngine(folder / "valkey") as valkey: ...
"""

from __future__ import annotations

from tradewind.stack.kafka import KafkaEngine
from tradewind.stack.postgres import PostgresEngine
from tradewind.stack.provision import RoomAccess
from tradewind.stack.valkey import ValkeyEngine

__all__ = ["KafkaEngine", "PostgresEngine", "RoomAccess", "ValkeyEngine"]
