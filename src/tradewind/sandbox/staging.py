"""How a call that a rule hits is played: what is done, what is told, and how much of the telling arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.responses import Response

from tradewind.sandbox import script
from tradewind.sandbox.replies import Cut, Reset, Silence
from tradewind.sandbox.script import AnyRule
from tradewind.sandbox.store import Answer

RETRY_AFTER = {"Retry-After": "1"}
_UNPARSABLE = b'{"id": "ch_'
_JSON = "application/json"

Act = Callable[[], Awaitable[Answer]]


async def play(rule: AnyRule, act: Act, stopping: asyncio.Event) -> Response | Answer:
    """Play one call by `rule`: `act` is what the call is about. An answer may be told as it is, or is a response already."""
    match rule:
        case script.Late():
            answer = await act()
            await asyncio.sleep(rule.wait_ms / 1000)
            return answer
        case script.Slow():
            await asyncio.sleep(rule.wait_ms / 1000)
            return await act()
        case script.Silent():
            await _perhaps(act, done=rule.done)
            return Silence(stopping)
        case script.Reset():
            await _perhaps(act, done=rule.done)
            return Reset()
        case script.Error():
            await _perhaps(act, done=rule.done)
            return _failure(rule.status)
        case script.Cut():
            answer = await act()
            return Cut(answer.body, answer.status, _JSON)
        case script.Garbage():
            await act()
            return Response(_UNPARSABLE, 200, media_type=_JSON)
        case _:
            return _told(rule, await act())


async def _perhaps(act: Act, *, done: bool) -> None:
    if done:
        await act()


def _failure(status: int) -> Response:
    code = {429: "rate_limited", 503: "unavailable"}.get(status, "internal_error")
    error = {"type": "api_error", "code": code, "message": "The provider failed; ask again."}
    return Response(msgspec.json.encode({"error": error}), status, RETRY_AFTER if status != 500 else None, _JSON)


def _told(rule: AnyRule, answer: Answer) -> Answer:
    """`answer`, as far as it lies by `rule`; the books are not touched."""
    changes: dict[str, Any] = {}
    body: dict[str, Any] = msgspec.json.decode(answer.body)
    # A decline carries its charge.
    told = body.get("error", {}).get("charge") if "error" in body else body
    if told is None:
        return answer
    match rule:
        case script.WrongAmount(where="answer"):
            for field in ("amount_minor", "amount_captured_minor"):
                if told.get(field):
                    changes[field] = told[field] + rule.by_minor
        case script.WrongCurrency(where="answer"):
            changes["currency"] = rule.currency
        case script.WrongReference(where="answer"):
            changes["reference"] = rule.says
        case script.UnknownStatus():
            changes["status"] = rule.word
        case _:
            return answer
    told.update(changes)
    return Answer(answer.status, msgspec.json.encode(body), answer.replayed)
