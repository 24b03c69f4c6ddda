"""Reading the answers of HTTP servers, never more of one than was agreed."""

from __future__ import annotations

import aiohttp


async def read_answer(answer: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """The whole body.

    Raises:
        aiohttp.ClientPayloadError: it is longer than `most_bytes`, or the connection broke.
    """
    if (answer.content_length or 0) > most_bytes:
        raise aiohttp.ClientPayloadError(f"an answer of {answer.content_length} bytes, at most {most_bytes} allowed")
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            raise aiohttp.ClientPayloadError(f"an answer of more than {most_bytes} bytes")
    return bytes(body)


def retry_after_s(answer: aiohttp.ClientResponse) -> float | None:
    """`Retry-After` in seconds; its other form, a date, is not used by anything we call."""
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) <= 6 else None
