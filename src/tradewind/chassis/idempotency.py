"""Idempotent POSTs: the key, the change and its events are one local transaction.

The row of `idempotency_key` is inserted first, inside the transaction of the effect. PostgreSQL's unique index does the rest:
a concurrent duplicate waits on that insert (at most `WAIT`, then 409), a killed attempt leaves no claim, and after the commit
the stored answer is there for every later try. Status codes that a retry may change (400, 401, 413, 415, 422, 429, 5xx) are not stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping

import asyncpg
import msgspec

from tradewind.chassis.errors import Conflict, Invalid, Problem, Unavailable
from tradewind.chassis.postgres import Database, Record, Statements, Tx

WAIT = "2s"
KEEP_DAYS = 2
MAX_KEY_LENGTH = 255
CLEANUP_BATCH = 5_000
_BEGIN = f"BEGIN; SET LOCAL lock_timeout = '{WAIT}'"
_STORED_PROBLEMS = frozenset({403, 404, 409, 412})


class Answer(msgspec.Struct, frozen=True):
    """What the first attempt answered: status, the headers worth keeping, the body's bytes."""

    status: int
    headers: dict[str, str]
    body: bytes
    replayed: bool = False


def check_key(key: str | None) -> str:
    """The `Idempotency-Key` header's value.

    Raises:
        Invalid: 400 `idempotency-key-required` or `idempotency-key-invalid` (1 to 255 printable ASCII characters).
    """
    if not key:
        raise Invalid("idempotency-key-required", "Send an Idempotency-Key header; a UUID does.", status=400)
    if len(key) > MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise Invalid("idempotency-key-invalid", "The key must be 1 to 255 printable ASCII characters.", status=400)
    return key


def fingerprint(method: str, path: str, body: bytes) -> bytes:
    """32 bytes that stand for one request; two requests with the same key must have the same."""
    digest = hashlib.sha256(f"{method} {path}\n".encode())
    digest.update(body)
    return digest.digest()


async def run_once(
    database: Database,
    *,
    subject: str,
    key: str,
    print_: bytes,
    attempt: Callable[[Tx], Awaitable[Answer]],
    render_problem: Callable[[Problem], Answer],
) -> Answer:
    """Run `attempt` in the one transaction that also claims (`subject`, `key`), or give the stored answer again.

    Raises:
        Invalid: 422 `idempotency-key-reused`, the key belongs to another request.
        Conflict: 409 `idempotency-in-progress`, a duplicate is still running after `WAIT`.
        Problem: what `attempt` raised, where it is not stored.
    """
    try:
        async with database.transaction(_BEGIN) as tx:
            if not await _claim(tx, subject, key, print_):
                return await _replay(tx, subject, key, print_)
            answer = await _attempt(tx, attempt)
            await tx.execute(
                "UPDATE idempotency_key SET status = $3, headers = $4, body = $5 WHERE subject = $1 AND key = $2",
                subject, key, answer.status, msgspec.json.encode(answer.headers).decode(), answer.body,
            )  # fmt: skip
            return answer
    except Problem as problem:
        if problem.status not in _STORED_PROBLEMS or problem.code == "idempotency-in-progress":
            raise
        return await _store_refusal(database, subject, key, print_, render_problem(problem))


async def _claim(tx: Tx, subject: str, key: str, print_: bytes) -> bool:
    try:
        claimed = await tx.value(
            "INSERT INTO idempotency_key (subject, key, fingerprint) VALUES ($1, $2, $3)"
            " ON CONFLICT (subject, key) DO NOTHING RETURNING true",
            subject, key, print_,
        )  # fmt: skip
    except asyncpg.LockNotAvailableError as exc:
        raise Conflict(
            "idempotency-in-progress", "The first request with this key is still running.", retry_after_s=1
        ) from exc
    return bool(claimed)


async def _attempt(tx: Tx, attempt: Callable[[Tx], Awaitable[Answer]]) -> Answer:
    try:
        return await attempt(tx)
    except asyncpg.LockNotAvailableError as exc:
        raise Unavailable("busy", "Too many requests want the same thing right now.", retry_after_s=1) from exc


async def _replay(statements: Statements, subject: str, key: str, print_: bytes) -> Answer:
    row: Record | None = await statements.row(
        "SELECT fingerprint, status, headers, body FROM idempotency_key WHERE subject = $1 AND key = $2", subject, key
    )
    if row is None:  # expired between the claim and here
        raise Conflict("idempotency-in-progress", "Try again.", retry_after_s=1)
    if row["fingerprint"] != print_:
        raise Invalid("idempotency-key-reused", "This Idempotency-Key was used for another request.")
    headers: Mapping[str, str] = msgspec.json.decode(row["headers"], type=dict[str, str])
    return Answer(row["status"], dict(headers), row["body"], replayed=True)


async def _store_refusal(database: Database, subject: str, key: str, print_: bytes, answer: Answer) -> Answer:
    """Keep a domain refusal whose transaction was rolled back.

    A duplicate may have run in between; then its answer is the one that counts, for both.
    """
    stored = await database.value(
        "INSERT INTO idempotency_key (subject, key, fingerprint, status, headers, body) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (subject, key) DO NOTHING RETURNING true",
        subject, key, print_, answer.status, msgspec.json.encode(answer.headers).decode(), answer.body,
    )  # fmt: skip
    return answer if stored else await _replay(database, subject, key, print_)


async def forget_old_keys(database: Database) -> int:
    """Delete keys older than `KEEP_DAYS`, a bounded number a call; returns how many."""
    tag = await database.execute(
        "DELETE FROM idempotency_key WHERE ctid = ANY(ARRAY("
        " SELECT ctid FROM idempotency_key WHERE created_at < now() - make_interval(days => $1) LIMIT $2))",
        KEEP_DAYS, CLEANUP_BATCH,
    )  # fmt: skip
    return int(tag.split()[-1])
