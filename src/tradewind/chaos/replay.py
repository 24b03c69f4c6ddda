"""Asking again, with the same key: the same answer comes, marked as a repetition."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from tradewind.chaos.comparison import MOST
from tradewind.chaos.journal import Entry
from tradewind.traffic.client import Refused, Shop

AT_ONCE = 4
_REPLAYED = "idempotency-replayed"


async def replay(entries: Sequence[Entry], shop: Shop, token: Callable[[str], Awaitable[str]]) -> tuple[int, list[str]]:
    """Send every answered keyed write once more; how many there were, and a sentence for each that was answered otherwise.

    `token` gives the access token of an entry's subject.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(entry: Entry) -> str | None:
        async with gate:
            return await _again(entry, shop, await token(entry.subject))

    keyed = [entry for entry in entries if entry.status and entry.act != "register"]
    found = [sentence for sentence in await asyncio.gather(*map(one, keyed)) if sentence]
    more = [f"and {len(found) - MOST} more keys"] if len(found) > MOST else []
    return len(keyed), found[:MOST] + more


async def _again(entry: Entry, shop: Shop, token: str) -> str | None:
    what = f"{entry.act} with key {entry.key}"
    try:
        answer = await shop.call("POST", entry.path, token=token, body=entry.body, key=entry.key)
    except Refused as refused:
        if (refused.status, refused.code) == (entry.status, (entry.answer or {}).get("code")):
            return None
        return f"{what} was answered {entry.status}, and again {refused}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"{what}: no answer any more ({type(error).__name__})"
    if (answer.status, answer.body) != (entry.status, entry.answer):
        return f"{what} was answered {entry.status} {entry.answer}, and again {answer.status} {answer.body}"
    if answer.headers.get(_REPLAYED) != "true":
        return f"{what} was done again"
    return None
