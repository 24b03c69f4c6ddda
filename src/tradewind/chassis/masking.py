"""What must not be written down: secrets found by the name of their key, and credentials inside texts.

A key is split into its words (`refreshToken`, `X-Api-Key`, `card_number`), so that `card` hides a card number and
leaves `cardinality` alone. Hiding too much is the cheap mistake here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

import msgspec

MASK = "***"
MAX_TEXT_CHARS = 4_000
MAX_ITEMS = 100
MAX_DEPTH = 6

_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens", "jwt", "bearer", "auth"}
    | {"authorization", "cookie", "cookies", "credential", "credentials", "apikey", "card", "pan", "cvc", "cvv"}
    | {"iban", "pin", "otp", "totp", "pem", "dsn", "signature"}
)
_SECRET_PAIRS = frozenset({("api", "key"), ("private", "key"), ("signing", "key"), ("recovery", "code")})
_EMAIL_WORDS = frozenset({"email", "emails"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_PLAIN = frozenset({int, float, bool, type(None)})

# user:password@ in an address; a JWT; the credentials of an Authorization header.
_CREDENTIALS = re.compile(
    r"(?<=://)[^/\s@:]*:[^/\s@]+(?=@)|\beyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=\bBearer )\S+", re.IGNORECASE
)


def mask_fields(given: Mapping[str, Any], into: dict[str, Any], reserved: Collection[str] = ()) -> None:
    """Copy `given` into `into`, masked and bounded; a name in `reserved` gets a `_` at its end."""
    for key, value in given.items():
        rule = _rule(key)
        into[key + "_" if key in reserved else key] = _bounded(value, 0) if rule is None else rule(value)


def scrub(text: str, most_chars: int = MAX_TEXT_CHARS) -> str:
    """`text` without the credentials in it, cut to `most_chars`."""
    if len(text) > most_chars:
        text = text[:most_chars] + "…"
    return _CREDENTIALS.sub(MASK, text)


def _hide(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) else MASK


def _hide_email(value: Any) -> Any:
    if isinstance(value, str):
        return value[:1] + MASK
    return _hide(value)


@lru_cache(maxsize=2_048)
def _rule(key: str) -> Callable[[Any], Any] | None:
    words = [word.lower() for word in _WORD.findall(key)]
    if not _SECRET_WORDS.isdisjoint(words) or not _SECRET_PAIRS.isdisjoint(itertools.pairwise(words)):
        return _hide
    return None if _EMAIL_WORDS.isdisjoint(words) else _hide_email


def _bounded(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is str:
        if len(value) > MAX_TEXT_CHARS or "://" in value or "eyJ" in value:
            return scrub(value)
        return value
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(key): _bounded(item, depth + 1) if (rule := _rule(str(key))) is None else rule(item)
            for key, item in list(value.items())[:MAX_ITEMS]
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_bounded(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
    if isinstance(value, msgspec.Struct):
        return _bounded(msgspec.structs.asdict(value), depth)
    if is_dataclass(value) and not isinstance(value, type):
        return _bounded({field.name: getattr(value, field.name) for field in fields(value)}, depth)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    # A date, a UUID, a Decimal, an enum, a Secret (whose text is already a mask), an exception: its own words.
    return scrub(str(value))
