"""What must hold, a sentence each; a breach of it; and the report of all of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from tradewind.chassis.transport import RETENTION_S

Name: TypeAlias = Literal["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11"]

INVARIANTS: dict[Name, str] = {
    "I1": "the ledger sums to zero per transaction and currency",
    "I2": "at most one captured payment per order, by our books and the provider's; refunded <= captured <= authorized",
    "I3": "every stored success of an idempotent POST has its resource",
    "I4": "every committed event took effect exactly once in every consumer",
    "I5": "the versions of an aggregate have no gap",
    "I6": "stock >= 0, and initial + deltas = available + reserved + sold",
    "I7": "one Message-ID per notification",
    "I8": "the analytics equal the ledger",
    "I9": "nothing pending, locked or unsent is older than its limit",
    "I10": "dead letters are listed, none is silent",
    "I11": "for each order captured - refunded = total - granted refunds; a cancelled one holds no money and no stock",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long what may wait (I9), and how long the bus keeps events at least; in seconds.

    `outcome_s` is the promise that reconciliation keeps; it counts from when the provider answers again, so after a longer
    outage the audit is to be asked once more. `mail_s` is the longest pause between two tries.
    """

    retention_s: float = RETENTION_S
    pending_s: float = 60.0
    outcome_s: float = 60.0
    due_s: float = 60.0
    mail_s: float = 600.0
    unpublished_s: float = 60.0
    unread_s: float = 60.0
    replay_s: float = 60.0
    transaction_s: float = 60.0


class Violation(msgspec.Struct, frozen=True):
    """One breach: which invariant, of what, how, and where to look or what to do about it."""

    invariant: Name
    subject: str
    detail: str
    next_step: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an audit, and what `tradewind audit --format json` prints: fields are added, none is taken away.

    `clean`       no violation
    `complete`    all that was named could be looked at; false when the provider is away
    `settled`     the streams passed in time; the checks ran all the same, without what was still on its way
    `waits_for`   streams that had not passed, a sentence each; empty when settled
    `left_out`    questions that the provider had not answered in time, a sentence each: those payments are the next audit's
    `not_seen`    what could not be looked at, and so was not checked, a sentence each
    `waited_s`    seconds spent waiting for the streams
    `took_s`      seconds spent checking
    `check_s`     seconds that the databases worked for each check; they work at the same time, so the sum is more than `took_s`
    `checked`     violations by invariant, every invariant is there: `{"I1": 0, ...}`
    `violations`  `{invariant, subject, detail, next_step}` each
    """

    clean: bool
    complete: bool
    settled: bool
    waits_for: list[str]
    left_out: list[str]
    not_seen: list[str]
    waited_s: float
    took_s: float
    check_s: dict[str, float] = {}
    checked: dict[str, int]
    violations: list[Violation]
