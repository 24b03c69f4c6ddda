"""The payment methods of the sandbox: what the issuer decides, and what happens to the request on its way.

A method has two sides. `Method` is the issuer's: approve, decline, or challenge first. `Script` is the network's:
whether this attempt is stored at all, and whether its answer comes back. Faults are drawn from the seed, never from
the machine's randomness, and end after `FAULTY_ATTEMPTS` attempts under one key, so that a client that retries always
gets there.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b

import msgspec

SLOW_S = 3.0
FAULTY_ATTEMPTS = 3


class Fault(StrEnum):
    """What may happen to a request with this payment method."""

    NONE = "none"
    SLOW = "slow"
    TIMEOUT_CHARGED = "timeout_charged"
    TIMEOUT_NOT_CHARGED = "timeout_not_charged"
    FLAKY = "flaky"


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """The issuer's side of a payment method. Neither a failure code nor a challenge: it approves."""

    failure_code: str | None = None
    challenge: bool = False
    fault: Fault = Fault.NONE


METHODS: dict[str, Method] = {
    "pm_card_visa": Method(),
    "pm_card_chargeDeclined": Method(failure_code="card_declined"),
    "pm_card_chargeDeclinedInsufficientFunds": Method(failure_code="insufficient_funds"),
    "pm_card_authenticationRequired": Method(challenge=True),
    # Charges, then is silent; the same key asks again: the charge.
    "pm_sandbox_timeout_charged": Method(fault=Fault.TIMEOUT_CHARGED),
    # Is silent and stores nothing: no charge by key or reference. The second attempt with the same key charges.
    "pm_sandbox_timeout_not_charged": Method(fault=Fault.TIMEOUT_NOT_CHARGED),
    # Charges after three seconds, whether or not anybody still waits for it.
    "pm_sandbox_slow": Method(fault=Fault.SLOW),
    # By reference and attempt: a 500 or a reset, before or after storing, or nothing wrong.
    "pm_sandbox_flaky": Method(fault=Fault.FLAKY),
}


class Reply(StrEnum):
    """What the client gets to see."""

    ANSWER = "answer"
    ERROR = "error"
    RESET = "reset"
    SILENCE = "silence"


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt goes: `wait_s` first, then the charge is stored or not, then the reply."""

    wait_s: float = 0.0
    stores: bool = True
    reply: Reply = Reply.ANSWER


WELL = Script()
_FLAKY = (
    WELL,
    Script(stores=False, reply=Reply.ERROR),
    Script(stores=True, reply=Reply.ERROR),
    Script(stores=False, reply=Reply.RESET),
    Script(stores=True, reply=Reply.RESET),
)


def script(fault: Fault, *, seed: int, reference: str, attempt: int) -> Script:
    """How attempt number `attempt` (from 1, counted per idempotency key) of a charge goes."""
    if fault is Fault.SLOW:
        return Script(wait_s=SLOW_S)
    if fault is Fault.TIMEOUT_CHARGED and attempt == 1:
        return Script(reply=Reply.SILENCE)
    if fault is Fault.TIMEOUT_NOT_CHARGED and attempt == 1:
        return Script(stores=False, reply=Reply.SILENCE)
    if fault is Fault.FLAKY and attempt <= FAULTY_ATTEMPTS:
        return _FLAKY[int(chance(seed, "flaky", reference, str(attempt)) * len(_FLAKY))]
    return WELL


def chance(seed: int, *names: str) -> float:
    """A number in [0, 1) that depends on nothing but the arguments: the same run draws the same faults."""
    digest = blake2b("\0".join(names).encode(), digest_size=6, key=str(seed).encode()[:64]).digest()
    return int.from_bytes(digest, "big") / 2.0**48
