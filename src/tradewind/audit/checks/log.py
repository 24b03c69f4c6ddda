"""I4, the bus itself: the log has no holes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from tradewind.audit.books import Books
from tradewind.chassis.transport import Place

MOST = 100
"""Missing messages of one partition that are looked for."""

_EXTENTS = """
    SELECT p.topic, p.partition, p.head, count(*) AS n, min(l."offset") AS first, max(l."offset") AS last
    FROM partition p JOIN log l ON l.topic = p.topic AND l.partition = p.partition GROUP BY p.topic, p.partition
"""
# What lies before a hole is younger than the retention, so nothing behind it was old enough to be deleted.
_HOLES = """
    SELECT gone FROM (
        SELECT "offset", appended_at, lead("offset", 1, $3::bigint) OVER (ORDER BY "offset") AS next FROM log
        WHERE topic = $1 AND partition = $2
    ) AS message, generate_series("offset" + 1, next - 1) AS gone
    WHERE next <> "offset" + 1 AND appended_at > $4 ORDER BY gone LIMIT $5
"""


class Gaps(msgspec.Struct):
    """Offsets that are gone from the log, and partitions whose beginning is: by retention, as a rule."""

    gone: dict[Place, list[int]]
    shortened: set[Place]

    def explain(self, place: Place, versions: int, *, at_the_beginning: bool) -> bool:
        """Whether so many lost events can have lain in the partition; holes are used up by what they explain."""
        holes = self.gone.get(place, [])
        if len(holes) >= versions:
            del holes[:versions]
            return True
        return at_the_beginning and place in self.shortened

    def left(self) -> Iterator[tuple[Place, list[int]]]:
        """Holes that nothing has explained."""
        return ((place, offsets) for place, offsets in self.gone.items() if offsets)


async def find_gaps(books: Books, young_since: datetime) -> Gaps:
    """Look for holes among messages younger than `young_since`. Offsets are dense, so numbers alone show them."""
    gaps = Gaps({}, set())
    for topic, partition, head, count, first, last in await books.bus.rows(_EXTENTS):
        if first > 0:
            gaps.shortened.add((topic, partition))
        if count != last - first + 1 or last + 1 != head:
            rows = await books.bus.rows(_HOLES, topic, partition, head, young_since, MOST)
            gaps.gone[topic, partition] = [row["gone"] for row in rows]
    return gaps
