"""What may change in a published event and what may not: each kind of breaking change, with where, what, and what to do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from tradewind.chassis.events import Event
from tradewind.published.changes import Breach, breaches, todo, unpublished
from tradewind.published.schemas import ENVELOPE, all_schemas, event_schema

TYPE = "parcel.sent.v1"
SMALL = Annotated[int, msgspec.Meta(ge=1, le=10)]
CODE = Annotated[str, msgspec.Meta(pattern="^[A-Z]+$", max_length=5)]


class Box(msgspec.Struct, kw_only=True):
    width: int
    lid: str = "none"


class WiderBox(msgspec.Struct, kw_only=True):
    width: float
    lid: str = "none"


class DeeperBox(msgspec.Struct, kw_only=True):
    width: int
    lid: str = "none"
    depth: int


class Closed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    width: int


class ClosedWithMore(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    width: int
    depth: int = 0


class Tree(msgspec.Struct, kw_only=True):
    branches: list[Tree] = []


FIELDS: dict[str, tuple[Any, ...]] = {
    "parcel_id": (str,),
    "count": (SMALL,),
    "code": (CODE,),
    "how": (Literal["air", "sea"],),
    "note": (str | None, None),
    "boxes": (list[Box],),
    "by_name": (dict[str, int],),
    "closed": (Closed,),
    "tree": (Tree,),
    "speed": (int, 1),
}


def schema(changes: dict[str, tuple[Any, ...] | None] | None = None, **metadata: Any) -> Any:
    """The schema of an event with `FIELDS`, some of them replaced, added, or (None) gone."""
    fields = {name: kind for name, kind in {**FIELDS, **(changes or {})}.items() if kind is not None}
    sent = msgspec.defstruct(
        "Sent", [(name, *kind) for name, kind in fields.items()], bases=(Event,), kw_only=True, frozen=True,
        namespace={"TYPE": TYPE, "TOPIC": metadata.get("topic", "parcel"), "KEY": metadata.get("key", "parcel_id")},
    )  # fmt: skip
    return event_schema(sent, metadata.get("producer", "parcel"))


def found(after: Any) -> list[tuple[str, str]]:
    return [(breach.where, breach.what) for breach in breaches({TYPE: schema()}, {TYPE: after})]


BREAKING: dict[str, tuple[dict[str, tuple[Any, ...] | None], str, str]] = {
    "a field removed": ({"count": None}, "$.count", "the field is gone"),
    "an optional field removed": ({"note": None}, "$.note", "the field is gone"),
    "a required field added": ({"weight": (int,)}, "$.weight", "a new field without a default"),
    "a field made required": ({"note": (str | None,)}, "$.note", "it was optional"),
    "a field made optional": ({"count": (SMALL, 1)}, "$.count", "it was required"),
    "a type narrowed": ({"note": (str, "")}, "$.note", "its type was string or null, is string"),
    "a type widened": ({"parcel_id": (str | None,)}, "$.parcel_id", "its type was string, is string or null"),
    "another type": ({"count": (str,)}, "$.count", "its type was integer, is string"),
    "a word removed": ({"how": (Literal["air"],)}, "$.how", "the word 'sea' is gone, and old events have it"),
    "a word added": ({"how": (Literal["air", "sea", "rail"],)}, "$.how", "the word 'rail' is new, and readers"),
    "free text made words": ({"code": (Literal["A"],)}, "$.code", "its type was string, is enumeration"),
    "a bound tightened": (
        {"count": (Annotated[int, msgspec.Meta(ge=1, le=5)],)},
        "$.count",
        "its maximum was 10, is 5",
    ),
    "a bound loosened": ({"count": (Annotated[int, msgspec.Meta(ge=0, le=10)],)}, "$.count", "its minimum was 1, is 0"),
    "a bound added": ({"speed": (SMALL, 1)}, "$.speed", "its minimum was none, is 1"),
    "another pattern": (
        {"code": (Annotated[str, msgspec.Meta(pattern="^[a-z]+$", max_length=5)],)},
        "$.code",
        "its pattern was ^[A-Z]+$, is ^[a-z]+$",
    ),
    "another length": (
        {"code": (Annotated[str, msgspec.Meta(pattern="^[A-Z]+$", max_length=4)],)},
        "$.code",
        "its maxLength was 5, is 4",
    ),
    "another default": ({"speed": (int, 2)}, "$.speed", "its default was 1, is 2"),
    "deep inside: another type": ({"boxes": (list[WiderBox],)}, "$.boxes[].width", "its type was integer, is number"),
    "deep inside: a required field": (
        {"boxes": (list[DeeperBox],)},
        "$.boxes[].depth",
        "a new field without a default",
    ),
    "the values of a map": ({"by_name": (dict[str, str],)}, "$.by_name[]", "its type was integer, is string"),
    "a field where readers refuse new ones": (
        {"closed": (ClosedWithMore,)},
        "$.closed.depth",
        "a new field, where readers",
    ),
}


@pytest.mark.parametrize("kind", BREAKING, ids=[kind.replace(" ", "_") for kind in BREAKING])
def test_a_breaking_change_is_named_with_where_and_what(kind: str) -> None:
    changes, where, what = BREAKING[kind]
    named = found(schema(changes))
    assert {each for each, _ in named} == {where}, "nothing else is blamed"
    assert any(said.startswith(what) for _, said in named)


def test_a_field_with_another_name_is_one_gone_and_one_new() -> None:
    renamed = found(schema({"count": None, "number": (SMALL,)}))
    assert [where for where, _ in renamed] == ["$.count", "$.number"]


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({"topic": "parcels"}, "the topic was parcel, is parcels"),
        ({"key": "code"}, "the key was parcel_id, is code"),
        ({"producer": "post"}, "the producer was parcel-service, is post-service"),
    ],
)
def test_where_it_travels_is_part_of_it(metadata: dict[str, str], what: str) -> None:
    assert found(schema(**metadata)) == [("$", what)]


def test_a_type_that_is_gone() -> None:
    (breach,) = breaches({TYPE: schema()}, {})
    assert str(breach) == (
        "parcel.sent.v1 at $: the type is gone, and the bus and the dead letters may hold events of it."
        " Leave parcel.sent.v1 as it was published, and put the change into parcel.sent.v2 beside it."
    )


class RoomierBox(msgspec.Struct, kw_only=True):
    width: Annotated[int, msgspec.Meta(description="In millimetres.")]
    lid: str = "none"
    depth: int | None = None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight": (int | None, None)},
        {"boxes": (list[RoomierBox],)},
        {"count": (Annotated[int, msgspec.Meta(ge=1, le=10, description="How many.", examples=[3])],)},
    ],
)
def test_optional_fields_and_words_that_explain_are_free(changes: dict[str, tuple[Any, ...]]) -> None:
    after = schema(changes)
    assert found(after) == []
    assert unpublished({TYPE: schema()}, {TYPE: after}) == ([TYPE] if changes else [])


def test_the_envelope_gains_optional_attributes_only() -> None:
    before = all_schemas()[ENVELOPE]
    after = {**before, "properties": {**before["properties"], "traceparent": {"type": "integer"}}}
    (breach,) = breaches({ENVELOPE: before}, {ENVELOPE: after})
    assert (breach.where, breach.what) == ("$.traceparent", "its type was string, is integer")
    assert str(breach).endswith("Every event has this envelope, so it only ever gains optional attributes.")


def test_what_to_do_names_the_next_version() -> None:
    assert "order.placed.v10 beside it" in todo("order.placed.v9")
    assert isinstance(Breach(TYPE, "$", ""), tuple)
