"""Rows of a short history as a pattern, of which every copy is the same story lived once more by others at another time.

What tells one story from another are ids, moments, addresses and serial numbers, wherever they are: in a column, in JSON, in
the bytes of an event. They are cut out; all else stays as the services wrote it, so a copy has the shape of the real thing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import msgspec

from tradewind.traffic.operator import OPERATOR_ID

_MARK = re.compile(
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<moment>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00|\+00))"
    r"|(?P<foreign>\b(?:ch|re|evt|pi)_[0-9A-Za-z]+)"
    r"|(?P<address>[\w.+-]+@[\w.-]+)"
)
_OF_A_STORY = frozenset({"uuid", "foreign"})
_VERSION_7 = "7"
_BYTES_OF_NO_TEXT = "\\x"

Value = Callable[["Copy"], str]


class Copy(msgspec.Struct, frozen=True):
    """One retelling: its number, 0 for the original, and how much later it happened, in milliseconds."""

    number: int
    later_ms: int


class Pattern:
    """The rows of one table."""

    def __init__(self, serials: Collection[int] = (), *, span: int = 0) -> None:
        """`serials`: columns of running numbers, of which a story uses `span`."""
        self._serials = frozenset(serials)
        self._span = span
        self._values: list[Value] = []
        self._kinds: list[str] = []
        self._known: dict[tuple[str, str], int] = {}
        self._order: list[int] = []
        self._text: list[str] = []

    def add(self, row: Sequence[Any]) -> bool:
        """Take a row up, if it belongs to the story: if it mentions an id of it."""
        before = len(self._order)
        fields = [self._field(at, value) for at, value in enumerate(row)]
        if not any(self._kinds[at] in _OF_A_STORY for at in self._order[before:]):
            del self._order[before:]
            return False
        self._text.append("\t".join(fields) + "\n")
        return True

    def lines(self) -> Callable[[Copy], bytes]:
        """What renders a retelling in the text format of COPY; a line a row."""
        text = "".join(self._text)
        if not text:
            return lambda _: b""
        chosen = itemgetter(*self._order, self._order[0])  # a tuple, also of one

        def render(copy: Copy) -> bytes:
            told: str = text % chosen([value(copy) for value in self._values])[:-1]
            return told.encode()

        return render

    def _field(self, at: int, value: Any) -> str:
        if value is None:
            return "\\N"
        if at in self._serials:
            return self._mark("serial", str(value))
        if isinstance(value, datetime):
            return self._mark("moment", value.isoformat())
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, bool):
            return "t" if value else "f"
        if isinstance(value, list):
            return _copied("{" + ",".join(f'"{each}"' for each in value) + "}").replace("%", "%%")
        return self._marked(_copied(str(value)))

    def _bytes(self, value: bytes) -> str:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return _copied(_BYTES_OF_NO_TEXT + value.hex())
        if not text.isprintable():
            return _copied(_BYTES_OF_NO_TEXT + value.hex())
        return self._marked(_copied(text.replace("\\", "\\\\")))

    def _marked(self, text: str) -> str:
        parts: list[str] = []
        end = 0
        for found in _MARK.finditer(text):
            parts += [text[end : found.start()].replace("%", "%%"), self._mark(found.lastgroup or "", found.group())]
            end = found.end()
        return "".join([*parts, text[end:].replace("%", "%%")])

    def _mark(self, kind: str, text: str) -> str:
        key = (kind, text)
        if key not in self._known:
            self._known[key] = len(self._values)
            self._values.append(_value(kind, text, self._span))
            self._kinds.append(kind)
        self._order.append(self._known[key])
        return "%s"


def _value(kind: str, text: str, span: int) -> Value:
    match kind:
        case "uuid":
            return _uuid(text)
        case "moment":
            return _moment(text)
        case "serial":
            number = int(text)
            return lambda copy: str(number + copy.number * span)
        case "foreign":
            return lambda copy: f"{text}{copy.number:07x}"
        case _:
            return lambda copy: f"{copy.number}.{text}"


def _uuid(text: str) -> Value:
    """Another id of that time and kind. The first 28 characters tell ids of a story apart, the last 8 the stories."""
    if text == OPERATOR_ID:
        return lambda _: text  # the same one in every story
    rest = text[13:28]
    if text[14] != _VERSION_7:
        return lambda copy: f"{text[:28]}{copy.number:08x}"
    ms = int(text[:8] + text[9:13], 16)

    def value(copy: Copy) -> str:
        moment = f"{ms + copy.later_ms:012x}"
        return f"{moment[:8]}-{moment[8:]}{rest}{copy.number:08x}"

    return value


def _moment(text: str) -> Value:
    moment = datetime.fromisoformat(text).astimezone(UTC)

    def value(copy: Copy) -> str:
        return f"{(moment + timedelta(milliseconds=copy.later_ms)).isoformat()[:-6]}Z"

    return value


def _copied(text: str) -> str:
    """Text as the text format of COPY has it."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
