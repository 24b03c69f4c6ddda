"""What values a field of a row takes, as a phrase for whoever wrote another one."""

from __future__ import annotations

from typing import Any

from msgspec import inspect


def allowed_by(kind: Any) -> str:
    """`a number from 0.001 to 25`, `one of 'a', 'b'`: the bounds of a field's type in words."""
    return _phrase(inspect.type_info(kind))


def _phrase(info: inspect.Type) -> str:
    match info:
        case inspect.LiteralType():
            return f"one of {', '.join(map(repr, info.values))}"
        case inspect.IntType():
            return "a whole number" + _bounds(info)
        case inspect.FloatType():
            return "a number" + _bounds(info)
        case inspect.StrType():
            return "a text" + (f" like {info.pattern}" if info.pattern else "")
        case inspect.BoolType():
            return "true or false"
        case inspect.VarTupleType():
            return f"a list of {_phrase(info.item_type)}"
        case inspect.StructType():
            return f"a table with {', '.join(field.name for field in info.fields)}"
        case inspect.UnionType():
            return " or ".join(_phrase(part) for part in info.types if not isinstance(part, inspect.NoneType))
        case inspect.Metadata():
            return _phrase(info.type)
        case _:
            return "something else"


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    low = f" above {info.gt:g}" if info.gt is not None else f" from {info.ge:g}" if info.ge is not None else ""
    high = f" up to {info.le:g}" if info.le is not None else f" below {info.lt:g}" if info.lt is not None else ""
    return f"{low}{high}"
