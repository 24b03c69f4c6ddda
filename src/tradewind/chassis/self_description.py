"""`/internal/description` on the management port: what an instance says of itself to a control plane that knows it only by address.

The caller names a word of its own; the answer is signed with the room's token over that word and the body, so that an old
answer, or one of somebody else's, is not taken for this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tradewind.chassis.proof import proof

PATH = "/internal/description"
PROOF_HEADER = "x-tradewind-proof"
MAX_WORD_CHARACTERS = 64


def description_route(describe: Callable[[], Mapping[str, Any]], token: str) -> Route:
    """The route; `describe` gives the body, as it would be sent to a registry."""

    async def description(request: Request) -> Response:
        body = msgspec.json.encode(describe())
        word = request.query_params.get("word", "")[:MAX_WORD_CHARACTERS]
        headers = {PROOF_HEADER: signature(token, word, body)}
        return Response(body, headers=headers, media_type="application/json")

    return Route(PATH, description)


def signature(token: str, word: str, body: bytes) -> str:
    """What the owner of `token` answers with `body` when asked with `word`."""
    return proof(token, word, hashlib.sha256(body).hexdigest())
