"""Events: what a service says has happened, as CloudEvents 1.0 in JSON (structured mode).

    class OrderPlaced(Event, frozen=True, kw_only=True):
        TYPE = "order.placed.v1"
        TOPIC = "order"
        KEY = "order_id"
        order_id: str

A published version of a type only ever gains optional fields; what would break a reader becomes the next version. So a
reader ignores fields it does not know, and is strict about those it does: their types, their bounds, and the words of an
enumeration, which is closed. The bytes are made once, in the producer's transaction, and stay as they are on every leg up
to the consumer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec

MAX_EVENT_BYTES = 256 * 1024
SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"

Text = Annotated[str, msgspec.Meta(min_length=1)]
"""An attribute that must not be empty."""

_TYPE = re.compile(r"([a-z][a-z0-9_-]*(?:\.[a-z][a-z0-9_-]*)+)\.v([1-9][0-9]{0,3})")
# An escape that means NUL, and not a backslash before the letters u0000.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TOPIC = re.compile(r"[a-z][a-z0-9._-]{0,99}")

E = TypeVar("E", bound="Event")
D = TypeVar("D")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What every event inherits. `TYPE` is `<noun>.<past tense>.v<n>`, `TOPIC` the stream it travels on.

    `KEY` names the field with the aggregate's id, which is the key on the bus and the event's subject.
    """

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    KEY: ClassVar[str] = ""

    def __init_subclass__(cls, **config: Any) -> None:
        super().__init_subclass__(**config)
        if "TYPE" in cls.__dict__:
            split_type(cls.TYPE)
            if not _TOPIC.fullmatch(getattr(cls, "TOPIC", "")):
                raise TypeError(f"{cls.__name__}.TOPIC must name a topic in lower case")
            if cls.KEY and cls.KEY not in cls.__annotations__:
                raise TypeError(f"{cls.__name__}.KEY must name one of its fields")


class Envelope(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """One event on the wire. `aggregateversion` and `traceparent` are CloudEvents extension attributes.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md and the extension
    https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md
    """

    specversion: str = SPEC_VERSION
    id: Text
    source: Text
    type: Text
    subject: Text
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    datacontenttype: str = CONTENT_TYPE
    aggregateversion: Annotated[int, msgspec.Meta(ge=1)]
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    data: D


class _Read(Envelope[D], Generic[D], frozen=True, kw_only=True):
    """An envelope as it comes in: what we always write, others must have written too."""

    specversion: str


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


class UnhandledVersion(Undecodable):
    """The event is of a version that this code is too old for, or too new. With code that knows it, it can be replayed."""


class Known(Enum):
    """What a consumer makes of an event's type. Of what it handles it must pass over no version."""

    HANDLED = "handled"
    FOREIGN = "foreign"
    NEWER = "newer"
    OLDER = "older"


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
            self._decoders[cls.TYPE] = msgspec.json.Decoder(_Read[cls])  # type: ignore[valid-type]
            self._newest[name] = max(version, self._newest.get(name, 0))

    def know(self, type_: str) -> Known:
        """`HANDLED`; `NEWER` or `OLDER`, another version of what is handled; else `FOREIGN`."""
        if type_ in self._decoders:
            return Known.HANDLED
        match = _TYPE.fullmatch(type_)
        if match is None or match.group(1) not in self._newest:
            return Known.FOREIGN
        return Known.NEWER if int(match.group(2)) > self._newest[match.group(1)] else Known.OLDER

    def decode(
        self, type_: str, value: bytes, *, topic: str, partition: int, offset: int, key: str | None = None
    ) -> Received[Any]:
        """The event in `value`, which travelled under `key`.

        Raises:
            UnhandledVersion: the type is handled, in other versions only.
            Undecodable: the type is not handled, the bytes do not fit it, or the envelope says something else than the
                message around it.
        """
        decoder = self._decoders.get(type_)
        if decoder is None:
            raise self._not_handled(type_)
        if len(value) > MAX_EVENT_BYTES:
            raise Undecodable(f"{type_}: it takes {len(value)} bytes, at most {MAX_EVENT_BYTES} may travel")
        if b"\\u0000" in value and _NUL.search(value):
            raise Undecodable(f"{type_}: a text in it has a NUL character")
        try:
            envelope = decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Undecodable(f"{type_}: {exc}") from exc
        _check(envelope, type_, key)
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

    def _not_handled(self, type_: str) -> Undecodable:
        known = self.know(type_)
        if known not in {Known.NEWER, Known.OLDER}:
            return Undecodable(f"{type_} is not handled here")
        name, _ = split_type(type_)
        handled = ", ".join(sorted(each for each in self._decoders if split_type(each)[0] == name))
        cure = "upgrade this consumer" if known is Known.NEWER else "run a version of this consumer that still knows it"
        return UnhandledVersion(
            f"{type_} came, {known.value} than what is handled here ({handled}): {cure}, then replay it"
        )


def _check(envelope: Envelope[Any], type_: str, key: str | None) -> None:
    """That the envelope says what the message around it says."""
    if envelope.type != type_:
        raise Undecodable(f"{type_}: the envelope says its type is {envelope.type}")
    if envelope.specversion != SPEC_VERSION:
        raise Undecodable(f"{type_}: CloudEvents {envelope.specversion}, not {SPEC_VERSION}")
    if envelope.datacontenttype != CONTENT_TYPE:
        raise Undecodable(f"{type_}: its data is said to be {envelope.datacontenttype}, not {CONTENT_TYPE}")
    if key is not None and envelope.subject != key:
        raise Undecodable(f"{type_}: the envelope is about {envelope.subject}, the key is {key}")
