"""Events: what a service says has happened, as CloudEvents 1.0 in JSON (structured mode).

    class OrderPlaced(Event, frozen=True, kw_only=True):
        TYPE = "order.placed.v1"
        TOPIC = "order"
        order_id: str

A published version of a type only ever gains optional fields; what would break a reader becomes the next version. So a
reader ignores fields it does not know, and is strict about the types of those it does. The bytes are made once, in the
producer's transaction, and stay as they are on every leg up to the consumer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec

MAX_EVENT_BYTES = 256 * 1024

_TYPE = re.compile(r"([a-z][a-z0-9_-]*(?:\.[a-z][a-z0-9_-]*)+)\.v([1-9][0-9]{0,3})")
_TOPIC = re.compile(r"[a-z][a-z0-9._-]{0,99}")

E = TypeVar("E", bound="Event")
D = TypeVar("D")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What every event inherits. `TYPE` is `<noun>.<past tense>.v<n>`, `TOPIC` the stream it travels on."""

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]

    def __init_subclass__(cls, **config: Any) -> None:
        super().__init_subclass__(**config)
        if "TYPE" in cls.__dict__:
            split_type(cls.TYPE)
            if not _TOPIC.fullmatch(getattr(cls, "TOPIC", "")):
                raise TypeError(f"{cls.__name__}.TOPIC must name a topic in lower case")


class Envelope(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """One event on the wire. `aggregateversion` and `traceparent` are CloudEvents extension attributes.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md and the extension
    https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md
    """

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    datacontenttype: str = "application/json"
    aggregateversion: int
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    data: D


class Received(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """An event as a handler sees it. `version` counts the changes of the aggregate `subject`; `time` is when it happened.

    `topic`, `partition` and `offset` say where on the bus it was; a replayed dead letter keeps its first place.
    """

    id: str
    type: str
    subject: str
    version: int
    time: datetime
    traceparent: str | None
    data: D
    topic: str
    partition: int
    offset: int


class Undecodable(Exception):
    """The bytes are not an event this code can read, and never will be."""


class Known(Enum):
    """What a consumer makes of an event's type."""

    HANDLED = "handled"
    FOREIGN = "foreign"
    NEWER = "newer"


_encoder = msgspec.json.Encoder()


def split_type(type_: str) -> tuple[str, int]:
    """`order.placed.v1` as (`order.placed`, 1).

    Raises:
        TypeError: it is no event type.
    """
    match = _TYPE.fullmatch(type_)
    if match is None:
        raise TypeError(f"an event type reads like order.placed.v1, not {type_!r}")
    return match.group(1), int(match.group(2))


def encode(envelope: Envelope[Any]) -> bytes:
    """The bytes of an event, at most 256 KiB: an event says what happened and is no place for documents.

    Raises:
        ValueError: it is larger.
    """
    value = _encoder.encode(envelope)
    if len(value) > MAX_EVENT_BYTES:
        raise ValueError(f"{envelope.type} takes {len(value)} bytes, at most {MAX_EVENT_BYTES} may travel")
    return value


class Catalogue:
    """The event types a consumer reads; each is decoded, with its envelope, in one pass."""

    def __init__(self, types: Iterable[type[Event]]) -> None:
        self._decoders: dict[str, msgspec.json.Decoder[Envelope[Any]]] = {}
        self._newest: dict[str, int] = {}
        for cls in types:
            name, version = split_type(cls.TYPE)
            self._decoders[cls.TYPE] = msgspec.json.Decoder(Envelope[cls])  # type: ignore[valid-type]
            self._newest[name] = max(version, self._newest.get(name, 0))

    def know(self, type_: str) -> Known:
        """`HANDLED`; `NEWER`, a version above those handled (the consumer is behind its contract); else `FOREIGN`."""
        if type_ in self._decoders:
            return Known.HANDLED
        match = _TYPE.fullmatch(type_)
        if match is not None and int(match.group(2)) > self._newest.get(match.group(1), 10_000):
            return Known.NEWER
        return Known.FOREIGN

    def decode(self, type_: str, value: bytes, *, topic: str, partition: int, offset: int) -> Received[Any]:
        """The event in `value`.

        Raises:
            Undecodable: the type is not handled, or the bytes do not fit it.
        """
        decoder = self._decoders.get(type_)
        if decoder is None:
            newer = self.know(type_) is Known.NEWER
            raise Undecodable(f"{type_} is {'newer than what is' if newer else 'not'} handled here")
        try:
            envelope = decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Undecodable(f"{type_}: {exc}") from exc
        if envelope.type != type_ or not envelope.specversion.startswith("1."):
            raise Undecodable(f"{type_}: the envelope says {envelope.type}, CloudEvents {envelope.specversion}")
        return Received(
            id=envelope.id,
            type=envelope.type,
            subject=envelope.subject,
            version=envelope.aggregateversion,
            time=envelope.time,
            traceparent=None if envelope.traceparent is msgspec.UNSET else envelope.traceparent,
            data=envelope.data,
            topic=topic,
            partition=partition,
            offset=offset,
        )
