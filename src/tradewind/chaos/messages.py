"""Delivering again, out of order, what the bus has delivered already."""

from __future__ import annotations

import random
from collections import deque

from tradewind.chassis.transport import Delivered, Message, open_transport


async def redeliver(bus_url: str, topic: str, count: int) -> int:
    """Publish the latest `count` events of a topic once more, with the same ids, shuffled; how many there were.

    Raises:
        Unavailable: the bus is away.
    """
    transport = await open_transport(bus_url, member="chaos")
    try:
        heads = await transport.heads([topic])
        start = {place: max(0, head - count) for place, head in heads.items()}
        latest: deque[Delivered] = deque(maxlen=count)
        async for chunk in transport.read(heads, start):
            latest.extend(chunk)
        messages = [_as_published(each) for each in latest]
        random.Random(count).shuffle(messages)
        await transport.publish(messages)
    finally:
        await transport.close()
    return len(messages)


def _as_published(found: Delivered) -> Message:
    return Message(
        topic=found.topic, key=found.key, id=found.id, type=found.type, value=found.value, headers=found.headers
    )
