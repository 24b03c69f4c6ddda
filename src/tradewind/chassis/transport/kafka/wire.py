"""A message as Kafka carries it: CloudEvents' Kafka binding in structured mode, with the id and the type in headers too.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md (3.3: the event is
the value, `content-type` says so, and headers may repeat attributes as `ce_*`); `traceparent` as W3C Trace Context has it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import msgspec
from confluent_kafka import Message as Raw

from tradewind.chassis.ids import is_id
from tradewind.chassis.transport import Delivered, Message
from tradewind.chassis.transport.kafka.address import Address

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"

_OURS = frozenset({"ce_id", "ce_type", "content-type"})
_MADE_UP = uuid.UUID("6f6b9d3c-9f0e-5c53-9d0c-5a4a1d1f3c77")


class _Attributes(msgspec.Struct):
    id: str = ""
    type: str = ""


_attributes = msgspec.json.Decoder(_Attributes)


def headers_of(message: Message) -> list[tuple[str, str | bytes | None]]:
    """What travels beside the value."""
    return [
        ("ce_id", message.id),
        ("ce_type", message.type),
        ("content-type", CONTENT_TYPE),
        *((name, value) for name, value in message.headers.items() if name not in _OURS),
    ]


def delivered(raw: Raw, topic: str) -> Delivered:
    """The message that came as `raw`; `topic` is what we call where it came from.

    One that is not from us may have no headers, no key, no event in it. It gets what the value says, or an id made from
    where it lies, which is the same each time it is delivered.
    """
    headers = _texts(raw.headers() or ())
    value = raw.value() or b""
    partition, offset = raw.partition() or 0, raw.offset() or 0
    id_, type_ = headers.pop("ce_id", ""), headers.pop("ce_type", "")
    headers.pop("content-type", None)
    if not id_ or not type_:
        said = _said(value)
        id_, type_ = id_ or said.id, type_ or said.type
    if not is_id(id_):
        id_ = str(uuid.uuid5(_MADE_UP, f"{raw.topic()}/{partition}/{offset}"))
    return Delivered(
        topic=topic,
        partition=partition,
        offset=offset,
        key=(raw.key() or b"").decode(errors="backslashreplace"),
        id=id_,
        type=type_,
        value=value,
        headers=headers,
        appended_at_ms=max(0, raw.timestamp()[1]),
    )


def all_delivered(address: Address, raws: Iterable[Raw]) -> list[Delivered]:
    """Those of `raws` that are messages, in order."""
    found = []
    for raw in raws:
        topic = address.inside(raw.topic() or "") if raw.error() is None else None
        if topic is not None:
            found.append(delivered(raw, topic))
    return found


def _texts(headers: Iterable[tuple[str, bytes | str | None]] | dict[str, bytes | str | None]) -> dict[str, str]:
    pairs = headers.items() if isinstance(headers, dict) else headers
    return {
        name: value.decode(errors="backslashreplace") if isinstance(value, bytes) else value or ""
        for name, value in pairs
    }


def _said(value: bytes) -> _Attributes:
    try:
        return _attributes.decode(value)
    except msgspec.MsgspecError:
        return _Attributes()
