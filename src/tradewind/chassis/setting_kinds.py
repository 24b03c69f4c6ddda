"""What fits a setting, in words: its type, its bounds and an example, from the annotated type of its field."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal

import msgspec

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def kind_of(hint: Any) -> str:
    """`a whole number, at least 1, at most 256`."""
    words, bounds = _plain(hint), []
    for meta in _metas(hint):
        bounds += [
            f"{word} {value}" for name, word in _BOUNDS.items() if (value := getattr(meta, name, None)) is not None
        ]
    return ", ".join([words, *bounds])


def example_of(hint: Any, default: str) -> str:
    """A text that fits: the default, or what the type alone suggests."""
    if default:
        return default.lower() if default in ("True", "False") else default
    kind = _unwrapped(hint)
    if typing.get_origin(kind) is Literal:
        return str(typing.get_args(kind)[0])
    least = next((meta.ge for meta in _metas(hint) if meta.ge is not None), 1)
    return {bool: "true", int: f"{least:g}", float: f"{least:g}"}.get(kind, "text")


def _plain(hint: Any) -> str:
    kind = _unwrapped(hint)
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(str(each) for each in typing.get_args(kind))
    return _WORDS.get(kind, "a secret")


def _unwrapped(hint: Any) -> Any:
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    if isinstance(kind, types.UnionType):
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    return kind


def _metas(hint: Any) -> list[msgspec.Meta]:
    return [arg for arg in typing.get_args(hint)[1:] if isinstance(arg, msgspec.Meta)]
