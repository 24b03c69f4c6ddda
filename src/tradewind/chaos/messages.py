"""Delivering again, out of order, what the bus has delivered already."""

from __future__ import annotations

import random

import msgspec

from tradewind.chaos.ground import Ground
from tradewind.chassis.postgres import dedicated_connection
from tradewind.chassis.transport import Message, open_transport
from tradewind.stack.provision import url_for

_LATEST = """
    SELECT topic, key, event_id::text AS id, type, value, headers FROM log WHERE topic = $1
    ORDER BY appended_at DESC LIMIT $2
"""


async def redeliver(ground: Ground, topic: str, count: int) -> int:
    """Publish the latest `count` events of a topic once more, with the same ids, shuffled; how many there were.

    Raises:
        Unavailable: the bus is away.
    """
    url = bus_url(ground)
    connection = await dedicated_connection(url, application_name="tradewind chaos")
    try:
        rows = await connection.fetch(_LATEST, topic, count)
    finally:
        await connection.close()
    messages = [
        Message(
            topic=row["topic"],
            key=row["key"],
            id=row["id"],
            type=row["type"],
            value=bytes(row["value"]),
            headers=msgspec.json.decode(row["headers"]) if row["headers"] else {},
        )
        for row in rows
    ]
    random.Random(count).shuffle(messages)
    transport = await open_transport(url, member="chaos")
    try:
        await transport.publish(messages)
    finally:
        await transport.close()
    return len(messages)


def bus_url(ground: Ground) -> str:
    """DSN of the bus, without a detour."""
    platform = ground.platform
    return url_for(platform.admin_url, "bus", platform.state.secrets().get("bus"), "bus")
