"""What a consumer's log says of single events, each line in the trace of its event: `tradewind logs --trace ID` has it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Container, Mapping
from contextlib import AbstractContextManager, nullcontext

from tradewind.chassis import logs, trace
from tradewind.chassis.consumer.parking import Parked
from tradewind.chassis.deadletters import DeadLetter, describe
from tradewind.chassis.transport import Delivered

FRAMES = 6
_ROOT = re.compile(r"^.*/(?:src|site-packages)/")
_log = logs.get_logger("consumer")


def handled(group: str, messages: Collection[Delivered], took_effect: Container[str]) -> None:
    """A batch was handled: on `debug`, a line for each event in it that took effect, so that one request can be followed."""
    if not logs.writes("debug"):
        return
    for message in messages:
        if message.id in took_effect:
            with _in_trace(message.headers):
                _log.debug("event handled", **_of(group, message))


def failed(group: str, parked: Parked) -> None:
    """The first message of a key failed, and is tried again or given up."""
    with _in_trace(parked.head.headers):
        _log.warning(
            "event failed",
            **_of(group, parked.head),
            **_why(parked.error),
            attempts=parked.attempts,
            hopeless=parked.hopeless,
        )


def buried(group: str, parked: Parked) -> None:
    """It was given up. With the stack, for this is where somebody begins to look."""
    with _in_trace(parked.head.headers):
        _log.error(
            "dead letter",
            **_of(group, parked.head),
            **_why(parked.error),
            attempts=parked.attempts,
            stack=_stack(parked.error),
        )


def replayed(group: str, letter: DeadLetter) -> None:
    """A letter took effect."""
    with _in_trace(letter.headers):
        _log.info("dead letter replayed", letter=letter.id, **_of(group, letter.message))


def replay_failed(group: str, letter: DeadLetter, error: BaseException, *, dead: bool) -> None:
    """A letter failed again; `dead`, if it is the operator's now."""
    with _in_trace(letter.headers):
        _log.warning(
            "replay failed",
            letter=letter.id,
            **_of(group, letter.message),
            **_why(error),
            dead=dead,
            stack=_stack(error),
        )


def _in_trace(headers: Mapping[str, str]) -> AbstractContextManager[object]:
    """The trace of the event, if it has one; without one a line is in none."""
    given = headers.get("traceparent")
    return nullcontext() if trace.parse_traceparent(given) is None else trace.use_traceparent(given)


def _of(group: str, message: Delivered) -> dict[str, str]:
    return {"group": group, "event_id": message.id, "type": message.type, "key": message.key}


def _why(error: BaseException) -> dict[str, str]:
    return {"error": type(error).__qualname__, "detail": describe(error)}


def _stack(error: BaseException) -> list[str]:
    """The innermost frames, without the error's text, which may quote a row."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return [f"{_ROOT.sub('', frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
