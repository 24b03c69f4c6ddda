"""The public HTTP door: what belongs to the platform as a whole."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from tradewind.chassis.http import PUBLIC, Api, Call
from tradewind.services.gateway import usecases
from tradewind.services.gateway.parts import Parts

KEYS_MAX_AGE_S = 10

api = Api("gateway", tag="Platform", description="What belongs to no single service.")


class KeySet(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


@api.get("/openapi.json", access=PUBLIC, listed=False)
async def openapi(call: Call[Parts]) -> Response:
    """The OpenAPI 3.1 document of every public operation of every service."""
    body = msgspec.json.encode(usecases.public_document(call.parts))
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if call.request.headers.get("if-none-match", "").removeprefix("W/") == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@api.get("/docs", access=PUBLIC, listed=False)
async def docs(call: Call[Parts]) -> Response:  # noqa: ARG001 - every handler takes the call
    """The same as a page to read; it loads nothing but /openapi.json."""
    page = importlib.resources.files(__package__).joinpath("docs.html").read_text()
    return Response(page, headers=_page_headers(page), media_type="text/html")


@api.get("/.well-known/jwks.json", access=PUBLIC, raises=("keys-unavailable",), rate="none")
async def jwks(call: Call[Parts]) -> KeySet:
    """Public keys.

    The keys that access tokens are verified with, as auth-service last published them; served also while it is down.
    """
    return KeySet(usecases.key_set(call.parts)["keys"])


def _page_headers(page: str) -> dict[str, str]:
    """The page may run exactly the script it contains, and load nothing from anywhere else."""
    script = page.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
