"""Log lines: one JSON object a line on stdout, in UTC, with the trace and the request they belong to.

    logs.configure("order-service", "order-1", level="info", format="json")
    log = get_logger(__name__)
    log.info("order placed", order_id=order.id, lines=2)

structlog carries the events, msgspec writes the bytes. Secrets are masked by the name of their key (`masking`), lines
and stack traces are bounded, and what the standard `logging` module gets (uvicorn, asyncio) comes out the same way.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import MutableMapping
from typing import Any, BinaryIO, Literal, TypeAlias

import msgspec
import structlog

from tradewind.chassis import request_scope, trace
from tradewind.chassis.masking import mask_fields, scrub

LogFormat: TypeAlias = Literal["json", "text"]

MAX_STACK_CHARS = 8_000
MAX_FRAMES = 20

_THRESHOLDS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "critical": 50}
_RESERVED = frozenset({"ts", "level", "service", "instance", "logger", "trace_id", "request_id", "exception"})


class _Output:
    """Where and how this process writes; one for the process, changed only by `configure` and `set_level`."""

    def __init__(self) -> None:
        self.service = ""
        self.instance = ""
        self.threshold = _THRESHOLDS["info"]
        self.format: LogFormat = "text"
        self.stream: BinaryIO | None = None
        self.lock = threading.Lock()

    def write(self, line: bytes) -> None:
        """Write one line whole. A reader that went away (a closed pipe) must not take the service with it."""
        stream = self.stream or sys.stdout.buffer
        try:
            with self.lock:
                stream.write(line)
                stream.flush()
        except (OSError, ValueError):
            return


_output = _Output()


class Logger(structlog.BoundLoggerBase):
    """Writes events with fields; every method costs a comparison when its level is off."""

    def debug(self, event: str, **fields: Any) -> None:
        """For whoever is looking for a fault."""
        if _output.threshold <= 10:
            self._proxy_to_logger("debug", event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """Something happened, as it should."""
        if _output.threshold <= 20:
            self._proxy_to_logger("info", event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something is off and was coped with."""
        if _output.threshold <= 30:
            self._proxy_to_logger("warning", event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        """Somebody did not get what they asked for, and it is our fault. `exc_info=exc` adds the stack."""
        if _output.threshold <= 40:
            self._proxy_to_logger("error", event, **fields)

    def exception(self, event: str, **fields: Any) -> None:
        """`error` with the exception being handled."""
        self.error(event, **{"exc_info": True, **fields})


def get_logger(name: str = "") -> Logger:
    """A logger; `name` is the module's. May be called before `configure`, also while importing: it opens nothing."""
    return Logger(_Sink(), [_render], {"logger": name} if name else {})


def configure(
    service: str, instance: str, level: str = "info", format: LogFormat = "json", *, stream: BinaryIO | None = None
) -> None:
    """Set up the log lines of this process, and route `logging` through them. `stream` defaults to stdout.

    Raises:
        ValueError: `level` is none of debug, info, warning (or warn), error, critical.
    """
    set_level(level)
    _output.service = service
    _output.instance = instance
    _output.format = format
    _output.stream = stream
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StandardLogging)]:
        root.removeHandler(handler)
    root.addHandler(_StandardLogging())
    logging.captureWarnings(True)
    # Envoy writes the access log; uvicorn's would double it.
    logging.getLogger("uvicorn.access").disabled = True


def set_level(level: str) -> None:
    """Change the least level that is written, at once, for every logger there is.

    Raises:
        ValueError: no such level.
    """
    threshold = _THRESHOLDS.get(level.lower())
    if threshold is None:
        raise ValueError(f"a log level is one of {', '.join(_THRESHOLDS)}, not {level!r}")
    _output.threshold = threshold
    logging.getLogger().setLevel(threshold)


def writes(level: str) -> bool:
    """Whether lines of `level` are written now: to ask before many of them are made."""
    return _THRESHOLDS[level] >= _output.threshold


class _Sink:
    """The end of the processor chain: structlog calls the method named like the level with the finished line."""

    def _write(self, line: bytes) -> None:
        _output.write(line)

    debug = info = warning = error = _write


class _StandardLogging(logging.Handler):
    """Brings what other libraries log into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"event": record.getMessage(), "logger": record.name}
            if record.exc_info:
                fields["exc_info"] = record.exc_info[1]
            _output.write(_render(None, record.levelname.lower(), fields))
        except Exception:
            self.handleError(record)


def _render(_logger: Any, level: str, fields: MutableMapping[str, Any]) -> bytes:
    """The last and only processor: order the fields, mask secrets, and make the line. Never raises."""
    line: dict[str, Any] = {
        "ts": _timestamp(),
        "level": level,
        "service": _output.service,
        "instance": _output.instance,
        "event": fields.pop("event", ""),
    }
    name = fields.pop("logger", None)
    if name:
        line["logger"] = name
    context = trace.current()
    if context is not None:
        line["trace_id"] = context.trace_id
    request_id = request_scope.current_request_id()
    if request_id is not None:
        line["request_id"] = request_id
    exc_info = fields.pop("exc_info", None)
    try:
        if fields:
            mask_fields(fields, line, _RESERVED)
        if exc_info:
            line["exception"] = _exception(exc_info)
        return _text(line) if _output.format == "text" else _encode_json(line)
    except Exception as exc:
        line = {key: line[key] for key in ("ts", "level", "service", "instance")}
        line |= {"event": "a log line could not be written", "error": type(exc).__name__}
        return _encode_json(line)


_json = msgspec.json.Encoder(enc_hook=str)


def _encode_json(line: dict[str, Any]) -> bytes:
    try:
        return _json.encode(line) + b"\n"
    except UnicodeEncodeError:
        # A lone surrogate: text from outside that was never valid Unicode.
        return _json.encode(_valid(line)) + b"\n"


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_valid(key): _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, list) else value


_second: tuple[int, str] = (0, "")


def _timestamp() -> str:
    """RFC 3339, UTC, milliseconds. The part down to the second is kept: formatting it is half the price of a line."""
    global _second  # noqa: PLW0603
    now = time.time()
    whole = int(now)
    if whole != _second[0]:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{_second[1]}.{int((now - whole) * 1000):03d}Z"


def _exception(exc_info: Any) -> dict[str, str] | None:
    """Type, message and the innermost 20 frames, at most 8,000 characters of them."""
    exc = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
    if exc is None:
        return None
    stack = "".join(traceback.format_exception(exc, limit=-MAX_FRAMES))
    if len(stack) > MAX_STACK_CHARS:
        stack = stack[: MAX_STACK_CHARS // 4] + "\n...\n" + stack[-MAX_STACK_CHARS * 3 // 4 :]
    return {"type": type(exc).__qualname__, "message": scrub(str(exc)), "stack": scrub(stack, MAX_STACK_CHARS + 5)}


def _text(line: dict[str, Any]) -> bytes:
    """For people: time, level, instance, event, then the fields; a stack trace on lines of its own."""
    exception = line.pop("exception", None)
    head = f"{line.pop('ts')[11:23]} {line.pop('level'):7} {line.pop('instance')} {line.pop('event')}"
    line.pop("service")
    fields = " ".join(f"{key}={value}" for key, value in line.items())
    stack = "\n" + exception["stack"].rstrip() if exception else ""
    return f"{head}  {fields}".rstrip().encode(errors="replace") + stack.encode(errors="replace") + b"\n"
