"""A dead letter as people and programs see it: the message with secrets and personal data masked as the logs mask them, and all e-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tradewind.chassis.masking import MASK, mask_fields, scrub
from tradewind.chassis.trace import parse_traceparent

if TYPE_CHECKING:
    from tradewind.chassis.deadletters import DeadLetter
    from tradewind.cli.graveyards import Name

PREVIEW_CHARS = 200
_ADDRESS = re.compile(r"([\w.+%-])[\w.+%-]{0,63}@[\w-]+(?:\.[\w-]+)+")
COLUMNS = ("ID", "STATE", "CONSUMER", "TYPE", "KEY", "TRIES", "SINCE", "ERROR")
_NEXT = {
    "dead": "mend the cause, then `tradewind dlq replay {0}`; or `tradewind dlq drop {0} --reason ...`",
    "behind": "it follows by itself when the earlier letter of its key was replayed or dropped",
    "replay": "its consumer handles it within seconds, if it runs: `tradewind ps`",
}


def summary(name: Name, letter: DeadLetter) -> dict[str, Any]:
    """What `ls` says of a letter, for programs."""
    return {
        "id": str(name),
        "state": letter.state,
        "consumer": letter.consumer_group,
        "event_id": letter.event_id,
        "type": letter.type,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": letter.key,
        "error": letter.error,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "changed_at": letter.changed_at,
        "decided_by": letter.decided_by,
        "reason": letter.reason,
        "trace_id": trace_id(letter),
    }


def whole(name: Name, letter: DeadLetter, behind: int) -> dict[str, Any]:
    """What `show` says of a letter, for programs. `message` is a text where it is no JSON object."""
    headers: dict[str, Any] = {}
    mask_fields(letter.headers, headers)
    return {
        **summary(name, letter),
        "behind": behind,
        "headers": _without_addresses(headers),
        "message": _without_addresses(message(letter)),
    }


def cells(name: Name, letter: DeadLetter) -> tuple[str, ...]:
    """A line of `ls`, as `COLUMNS` has it."""
    error = f"{letter.error}: {letter.detail}" if letter.detail else letter.error
    return (
        str(name),
        letter.state,
        letter.consumer_group,
        letter.type,
        letter.key,
        str(letter.attempts),
        _moment(letter.first_failed_at),
        error if len(error) <= 80 else error[:79] + "…",
    )


def lines(name: Name, letter: DeadLetter, behind: int) -> Iterator[str]:
    """What `show` says of a letter, for people."""
    known = whole(name, letter, behind)
    yield f"{name}  {letter.state}"
    yield f"  event     {letter.type}  {letter.event_id}"
    yield f"  of        {letter.topic}, key {letter.key} (partition {letter.partition}, offset {letter.offset})"
    yield f"  consumer  {letter.consumer_group}"
    yield f"  error     {letter.error}{': ' if letter.detail else ''}{letter.detail}"
    yield f"  tries     {letter.attempts}, first {_moment(letter.first_failed_at)}, last {_moment(letter.last_failed_at)}"
    if behind:
        yield f"  behind it {behind} later event{'s' if behind > 1 else ''} of its key"
    if known["trace_id"]:
        yield f"  trace     {known['trace_id']}: `tradewind logs --trace {known['trace_id']}`"
    if letter.decided_by or letter.reason:
        who, why = letter.decided_by or "somebody", f": {letter.reason}" if letter.reason else ""
        yield f"  decided   {letter.state} by {who}, {_moment(letter.changed_at)}{why}"
    for key, value in known["headers"].items():
        yield f"  header    {key}: {value}"
    if letter.state in _NEXT:
        yield f"  next      {_NEXT[letter.state].format(name)}"
    yield ""
    shown = known["message"]
    yield shown if isinstance(shown, str) else msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()


def message(letter: DeadLetter) -> dict[str, Any] | str:
    """The event, masked; of what is no JSON object its size and beginning."""
    try:
        decoded = msgspec.json.decode(letter.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = None
    if isinstance(decoded, dict):
        masked: dict[str, Any] = {}
        mask_fields(decoded, masked)
        return masked
    beginning = letter.value[:PREVIEW_CHARS].decode("utf-8", "backslashreplace")
    printable = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in beginning)
    return f"({len(letter.value)} bytes, no JSON object) {scrub(printable)}"


def trace_id(letter: DeadLetter) -> str | None:
    """The trace the event belongs to, by its header or its envelope."""
    given: Any = letter.headers.get("traceparent")
    if given is None:
        try:
            envelope = msgspec.json.decode(letter.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        given = envelope.get("traceparent") if isinstance(envelope, dict) else None
    context = parse_traceparent(given) if isinstance(given, str) else None
    return context.trace_id if context else None


def _without_addresses(value: Any) -> Any:
    """`value` with the e-mail addresses in its texts masked: logs have none there, a whole event may."""
    if isinstance(value, str):
        return _ADDRESS.sub(rf"\1{MASK}", value)
    if isinstance(value, dict):
        return {key: _without_addresses(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_addresses(item) for item in value]
    return value


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
