"""From a handler's signature to its arguments: decided once per operation, run once per request."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from tradewind.chassis.errors import FieldError, Invalid, NotFound
from tradewind.chassis.http.api import Operation
from tradewind.chassis.http.values import MAX_LIMIT, IfMatch, PageQuery
from tradewind.chassis.postgres import Tx

_PATH_NAME = re.compile(r"\{(\w+)\}")
_ERROR_PATH = re.compile(r" - at `(?:key )?\$?(.*?)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_SPELLED = re.compile(r"-?(0|[1-9][0-9]{0,18})|true|false", re.ASCII)
MAX_QUERY_LENGTH = 4096


class Parameter(msgspec.Struct, frozen=True):
    """One path or query parameter. `argument` is the handler's name for it: `from_`, where the name is a Python keyword."""

    name: str
    argument: str
    where: str
    kind: Any
    required: bool
    default: Any


class Signature(msgspec.Struct, frozen=True):
    """What an operation's handler takes: shared by the binder and the OpenAPI document."""

    body: Any | None
    parameters: tuple[Parameter, ...]
    paged: bool
    if_match: bool
    wants_tx: bool
    returns: Any


def signature_of(operation: Operation) -> Signature:
    """Read a handler's signature.

    Raises:
        TypeError: the signature and the declaration contradict each other; the message names the handler.
    """
    handler = operation.handler
    hints = typing.get_type_hints(handler, include_extras=True)
    in_path = set(_PATH_NAME.findall(operation.path))
    body: Any | None = None
    parameters: list[Parameter] = []
    paged = if_match = wants_tx = wants_prepared = False
    for name, parameter in list(inspect.signature(handler).parameters.items())[1:]:
        kind = hints[name]
        if kind is Tx:
            wants_tx = True
        elif kind is PageQuery:
            paged = True
        elif kind is IfMatch:
            if_match = True
        elif name == "body":
            body = kind
        elif name == "prepared":
            wants_prepared = True
        else:
            required = parameter.default is inspect.Parameter.empty
            where = "path" if name in in_path else "query"
            in_path.discard(name)
            default = None if required else parameter.default
            parameters.append(Parameter(name.rstrip("_"), name, where, kind, required, default))
    if in_path:
        raise TypeError(f"{operation.name}: the path parameters {sorted(in_path)} are not taken")
    if wants_tx != operation.idempotent:
        raise TypeError(f"{operation.name}: `tx` is for idempotent operations, and only for them")
    if wants_prepared != (operation.prepare is not None):
        raise TypeError(f"{operation.name}: `prepared` is what `prepare` returns: declare both or neither")
    if operation.prepare is not None and not operation.idempotent:
        raise TypeError(f"{operation.name}: only an idempotent operation has a transaction to prepare for")
    return Signature(body, tuple(parameters), paged, if_match, wants_tx, hints.get("return"))


class Binder:
    """Makes the keyword arguments of one operation out of a request and its body."""

    def __init__(self, operation: Operation) -> None:
        self.signature = signature_of(operation)
        self._raw = operation.raw
        self._decoder = _decoder(self.signature.body) if self.signature.body and not operation.raw else None
        self._query = {p.name for p in self.signature.parameters if p.where == "query"}

    @property
    def reads_body(self) -> bool:
        """Whether the operation takes a body at all."""
        return self.signature.body is not None

    def bind(self, request: Request, body: bytes) -> dict[str, Any]:
        """The arguments, without `call`, `tx` and `prepared`.

        Raises:
            Invalid: 400 for malformed JSON or a bad query parameter, 415 for another media type, 422 for the rest.
            NotFound: a path parameter cannot be the name of anything.
        """
        arguments: dict[str, Any] = {}
        query = request.query_params if request.scope["query_string"] else {}
        for parameter in self.signature.parameters:
            if parameter.where == "path":
                arguments[parameter.argument] = _path_value(parameter, request.path_params[parameter.name])
            else:
                arguments[parameter.argument] = _query_value(parameter, query)
        if self.signature.paged:
            arguments["page"] = _page_query(query)
        if self.signature.if_match:
            arguments["if_match"] = _if_match(request.headers.get("if-match"))
        if self._raw:
            arguments["body"] = body
        elif self._decoder is not None:
            arguments["body"] = self._decoder(request, body)
        return arguments


def _decoder(kind: Any) -> Callable[[Request, bytes], Any]:
    decoder = msgspec.json.Decoder(kind)

    def decode(request: Request, body: bytes) -> Any:
        media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise Invalid("unsupported-media-type", "Send application/json.", status=415)
        try:
            value = decoder.decode(body)
        except msgspec.ValidationError as exc:
            raise _invalid(str(exc)) from exc
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
            raise Invalid("malformed-json", f"The body is not JSON: {exc}", status=400) from exc
        if b"\\u0000" in body:
            _refuse_nul(msgspec.json.decode(body), "")
        return value

    return decode


def _invalid(message: str) -> Invalid:
    """msgspec says `Expected ... - at `$.lines[0].quantity``; clients get a JSON pointer."""
    found = _ERROR_PATH.search(message)
    pointer = "".join(f"/{name or index}" for name, index in _STEP.findall(found.group(1))) if found else ""
    detail = message[: found.start()] if found else message
    missing = re.search(r"missing required field `(\w+)`", detail)
    unknown = re.search(r"contains unknown field `(.+)`", detail)
    code = "type"
    if missing:
        pointer, code = f"{pointer}/{missing.group(1)}", "required"
    elif unknown:
        pointer, code = f"{pointer}/{unknown.group(1)}", "unknown-field"
    elif any(word in detail for word in (">=", "<=", "length", "matching")):
        code = "range"
    return Invalid("invalid", f"{detail} at {pointer or '/'}", errors=[FieldError(pointer, code, detail)])


def _refuse_nul(value: object, pointer: str) -> None:
    """PostgreSQL text cannot hold U+0000, so no string of ours may."""
    if isinstance(value, str) and "\0" in value:
        detail = "Text must not hold NUL characters."
        raise Invalid("invalid", f"{detail} at {pointer}", errors=[FieldError(pointer, "nul", detail)])
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_nul(key, pointer)
            _refuse_nul(inner, f"{pointer}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_nul(inner, f"{pointer}/{index}")


def _path_value(parameter: Parameter, text: str) -> Any:
    try:
        if "\0" in text:
            raise ValueError("NUL")
        return _scalar(parameter.kind, text)
    except (msgspec.ValidationError, ValueError) as exc:
        raise NotFound("not-found", f"There is no {parameter.name} like that.") from exc


def _query_value(parameter: Parameter, query: Mapping[str, str]) -> Any:
    text = query.get(parameter.name)
    if text is None:
        if parameter.required:
            raise _bad_parameter(parameter.name, "It is required.")
        return parameter.default
    try:
        if "\0" in text or len(text) > MAX_QUERY_LENGTH:
            raise ValueError("not text")
        return _scalar(parameter.kind, text)
    except (msgspec.ValidationError, ValueError) as exc:
        raise _bad_parameter(parameter.name, str(exc)) from exc


def _scalar(kind: Any, text: str) -> Any:
    """A parameter's value: the text itself, or the integer or boolean that it spells.

    msgspec's lax mode would also take `1e1` for ten, `null` for absent, and a number for a point in time.
    """
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError:
        if _SPELLED.fullmatch(text) is None:
            raise
        return msgspec.convert(msgspec.json.decode(text), kind)


def _page_query(query: Mapping[str, str]) -> PageQuery:
    text = query.get("limit")
    limit = PageQuery().limit
    if text is not None:
        if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
            raise _bad_parameter("limit", f"It must be 1 to {MAX_LIMIT}.")
        limit = int(text)
    return PageQuery(limit, query.get("cursor"))


def _bad_parameter(name: str, detail: str) -> Invalid:
    return Invalid(
        "invalid-parameter",
        f"The query parameter {name} is wrong. {detail}",
        errors=[FieldError(f"?{name}", "invalid-parameter", detail)],
        status=400,
    )


def _if_match(header: str | None) -> IfMatch:
    return IfMatch(frozenset(tag.strip() for tag in header.split(","))) if header else IfMatch()
