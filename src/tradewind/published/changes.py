"""What in a schema would break somebody if it changed under the same version.

Both directions count. Old readers meet new events, because services are deployed one by one; new readers meet old events,
because the bus keeps them for a week and a dead letter for longer. So a version may gain optional fields, and
words that explain; anything that makes another set of events valid, wider or narrower, is the next version's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tradewind.published.schemas import Document

_PROMISES = {"x-topic": "the topic", "x-key": "the key", "x-producer": "the producer"}
_BOUNDS = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    "format", "contentEncoding", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip
_NOTHING = object()


class Breach(NamedTuple):
    """One breaking change. `where` is a path into the event's data, such as `$.lines[].quantity`."""

    type: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.type} at {self.where}: {self.what}. {todo(self.type)}"


def todo(type_: str) -> str:
    """What to do instead of changing `type_`."""
    name, _, version = type_.rpartition(".v")
    if not name:
        return "Every event has this envelope, so it only ever gains optional attributes."
    return f"Leave {type_} as it was published, and put the change into {name}.v{int(version) + 1} beside it."


def breaches(before: Mapping[str, Document], after: Mapping[str, Document]) -> list[Breach]:
    """What of the published schemas (`before`, by type) the code (`after`) breaks."""
    found: list[Breach] = []
    for type_, published in sorted(before.items()):
        now = after.get(type_)
        if now is None:
            found.append(Breach(type_, "$", "the type is gone, and the bus and the dead letters may hold events of it"))
        else:
            found += [Breach(type_, where, what) for where, what in _document(published, now)]
    return found


def unpublished(before: Mapping[str, Document], after: Mapping[str, Document]) -> list[str]:
    """Types whose schema was never published, or has gained something since."""
    return sorted(type_ for type_, schema in after.items() if before.get(type_) != schema)


def _document(before: Document, after: Document) -> Iterator[tuple[str, str]]:
    for name, meaning in _PROMISES.items():
        if before.get(name) != after.get(name):
            yield "$", f"{meaning} was {before.get(name)}, is {after.get(name)}"
    yield from _Walk(before.get("$defs", {}), after.get("$defs", {})).compare(before, after, "$")


class _Walk:
    """Compares two schemas, each with its definitions."""

    def __init__(self, before: Document, after: Document) -> None:
        self._before = before
        self._after = after
        self._open: set[tuple[str, str]] = set()

    def compare(self, before: Document, after: Document, where: str) -> Iterator[tuple[str, str]]:
        names = (before.get("$ref", ""), after.get("$ref", ""))
        if all(names):
            if names in self._open:
                return
            self._open.add(names)
        yield from self._alternatives(_resolved(before, self._before), _resolved(after, self._after), where)
        self._open.discard(names)

    def _alternatives(self, before: Document, after: Document, where: str) -> Iterator[tuple[str, str]]:
        if before.get("default", _NOTHING) != after.get("default", _NOTHING) and "default" in before:
            yield where, f"its default was {before['default']!r}, is {after.get('default', 'none')!r}"
        olds = [_resolved(each, self._before) for each in before.get("anyOf", [before])]
        news = [_resolved(each, self._after) for each in after.get("anyOf", [after])]
        if [_kind(each) for each in olds] != [_kind(each) for each in news]:
            yield where, f"its type was {_kinds(olds)}, is {_kinds(news)}"
            return
        for old, new in zip(olds, news, strict=True):
            yield from self._same_kind(old, new, where)

    def _same_kind(self, before: Document, after: Document, where: str) -> Iterator[tuple[str, str]]:
        yield from _words(before, after, where)
        for bound in _BOUNDS:
            if before.get(bound) != after.get(bound):
                yield where, f"its {bound} was {before.get(bound, 'none')}, is {after.get(bound, 'none')}"
        for inner in ("items", "additionalProperties"):
            old, new = before.get(inner, True), after.get(inner, True)
            if isinstance(old, Mapping) and isinstance(new, Mapping):
                yield from self.compare(old, new, f"{where}[]")
            elif old != new:
                yield where, f"its {inner} were {old}, are {new}"
        if before.get("prefixItems") != after.get("prefixItems"):
            yield where, "the items of its tuple changed"
        yield from self._fields(before, after, where)

    def _fields(self, before: Document, after: Document, where: str) -> Iterator[tuple[str, str]]:
        olds, news = before.get("properties", {}), after.get("properties", {})
        required_before, required_after = set(before.get("required", ())), set(after.get("required", ()))
        for name in olds:
            at = f"{where}.{name}"
            if name not in news:
                yield at, "the field is gone (or has another name)"
                continue
            if name in required_before - required_after:
                yield at, "it was required, and readers count on it"
            if name in required_after - required_before:
                yield at, "it was optional, and events without it are on their way"
            yield from self.compare(olds[name], news[name], at)
        for name in news:
            if name not in olds and name in required_after:
                yield f"{where}.{name}", "a new field without a default: events without it are on their way"
            elif name not in olds and before.get("additionalProperties", True) is False:
                yield f"{where}.{name}", "a new field, where readers refuse those they do not know"


def _words(before: Document, after: Document, where: str) -> Iterator[tuple[str, str]]:
    """An enumeration is closed: a word that goes is missed in old events, one that comes is refused by old readers."""
    olds, news = before.get("enum", [before.get("const")]), after.get("enum", [after.get("const")])
    for word in [each for each in olds if each not in news]:
        yield where, f"the word {word!r} is gone, and old events have it"
    for word in [each for each in news if each not in olds]:
        yield where, f"the word {word!r} is new, and readers of this version refuse it"


def _resolved(schema: Document, definitions: Document) -> Document:
    name = schema.get("$ref")
    if name is None:
        return schema
    found: Document = definitions[name.rpartition("/")[2]]
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}


def _kind(schema: Document) -> str:
    if "enum" in schema or "const" in schema:
        return "enumeration"
    kind = schema.get("type", "anything")
    return kind if isinstance(kind, str) else " or ".join(kind)


def _kinds(schemas: list[Any]) -> str:
    return " or ".join(_kind(each) for each in schemas)
