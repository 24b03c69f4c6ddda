"""An order's story as server-sent events: each entry of the timeline when it happens, until nothing more is awaited.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response, StreamingResponse

from tradewind.chassis.errors import Invalid, Problem
from tradewind.chassis.http import SIGNED_IN, Call, Id
from tradewind.services.order.api.bodies import entry_view, order_view
from tradewind.services.order.api.door import api
from tradewind.services.order.domain.order import Order
from tradewind.services.order.domain.saga import deadline_of
from tradewind.services.order.parts import Parts
from tradewind.services.order.usecases import ordering as usecases

LAST_EVENT_ID = "last-event-id"
MEDIA_TYPE = "text/event-stream"
HEARTBEAT_S = 15.0
RECONNECT_MS = 1_000
BITE = 50
_LAST = 2**63 - 1
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_encode = msgspec.json.Encoder().encode


@api.get(
    "/v1/orders/{id}/events",
    access=SIGNED_IN,
    stream=True,
    raises=("order-not-found", "last-event-id-invalid", "too-many-streams"),
)
async def follow_order(call: Call[Parts], id: Id) -> Response:
    """Follow an order: its timeline as server-sent events, from the beginning or from `Last-Event-ID`.

    Each event is named like the entry and carries it; its id is the entry's. The last one is `end`, with the order as it
    then is; who connects again after it is answered 204. A comment comes every 15 s. The stream also ends, without an
    `end`, after ten minutes or when the instance stops: connect again, as an EventSource does by itself.
    """
    after = _last_told(call.request.headers.get(LAST_EVENT_ID))
    order, news = await usecases.list_timeline(call.parts, id, call.caller, after=after, limit=1)
    if after and not news and deadline_of(order) is None:
        return Response(status_code=204)
    if call.request.method == "HEAD":
        return Response(media_type=MEDIA_TYPE, headers=_HEADERS)
    call.parts.following.admit(call.caller.subject)
    return StreamingResponse(_story(call, id, after), media_type=MEDIA_TYPE, headers=_HEADERS)


async def _story(call: Call[Parts], order_id: str, after: int) -> AsyncIterator[bytes]:
    parts, caller = call.parts, call.caller
    names = caller.has(*usecases.SEES_ALL)
    ends_at_s = parts.clock.monotonic_s() + parts.stream_ttl_s
    yield b"retry: %d\n\n" % RECONNECT_MS
    with parts.following.follow(order_id, caller.subject, after) as follower:
        while True:
            try:
                # First the order, then its story: an order at its end has told all of it by now.
                order, entries = await usecases.list_timeline(parts, order_id, caller, after=follower.after, limit=BITE)
            except Problem:
                return  # the database is away: whoever comes back goes on where this ended
            for entry in entries:
                yield _event(entry.event, entry.id, _encode(entry_view(entry, names_people=names)))
                follower.after = entry.id
            if entries:
                continue
            if deadline_of(order) is None:
                yield _end(order, follower.after)
                return
            left_s = ends_at_s - parts.clock.monotonic_s()
            if left_s <= 0 or parts.following.draining.is_set():
                return
            yield b":\n\n"
            await follower.wait(min(HEARTBEAT_S, left_s))


def _end(order: Order, last: int) -> bytes:
    return _event("end", last, _encode(order_view(order)))


def _event(name: str, number: int, data: bytes) -> bytes:
    """One event; JSON has no line feeds, so that its data is one line."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), data)


def _last_told(given: str | None) -> int:
    """The entry after which to go on. Raises Invalid: 400 `last-event-id-invalid`."""
    if not given:
        return 0
    if given.isascii() and given.isdigit() and len(given) <= 19 and int(given) <= _LAST:
        return int(given)
    raise Invalid("last-event-id-invalid", "Last-Event-ID is none that this stream gave out.", status=400)
