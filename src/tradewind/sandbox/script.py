"""What can be made to go wrong on purpose, call by call: the rules of a script, and how they are read.

    {"rules": [
        {"on": "charge",  "next": 1,      "do": "silent"},
        {"on": "refund",  "every": 3,     "do": "error", "status": 503, "done": true},
        {"on": "webhook", "chance": 0.25, "do": "late",  "wait_ms": 2000, "reference": "..."}
    ]}

A rule is about one kind of call (`on`), says which of them it hits (one of `next`, `every`, `chance`; `reference` narrows
it to the charges of one), and what then happens (`do`, with fields of its own). The first rule that hits a call decides.
POST /v1/_control sets a script, PSP_SANDBOX_SCRIPT is the one at the start; docs/reference/sandbox.md lists all of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

WAIT_MAX_MS = 60_000
RULES_MAX = 100

WaitMs = Annotated[int, Meta(ge=0, le=WAIT_MAX_MS)]
Where: TypeAlias = Literal["books", "answer"]


class On(StrEnum):
    """A kind of call, or what the provider sends by itself."""

    CHARGE = "charge"
    CONFIRM = "confirm"
    CAPTURE = "capture"
    CANCEL = "cancel"
    REFUND = "refund"
    WEBHOOK = "webhook"


CALLS = frozenset(On) - {On.WEBHOOK}
_ABOUT_CHARGES = CALLS - {On.REFUND}


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """Which calls are hit. `next`: so many from now on; `every`: each k-th; `chance`: this share, by the seed."""

    ON: ClassVar[frozenset[On]] = CALLS

    on: On
    next: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    every: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    chance: Annotated[float, Meta(gt=0, le=1)] | None = None
    reference: Annotated[str, Meta(min_length=1, max_length=200)] | None = None

    def __post_init__(self) -> None:
        if [self.next, self.every, self.chance].count(None) != 2:
            raise ValueError("give exactly one of next, every and chance")
        if self.on not in self.ON:
            word = type(self).__struct_config__.tag
            raise ValueError(f"`{word}` is for {', '.join(sorted(self.ON))}, not for {self.on}")


class Late(Rule, frozen=True, tag="late"):
    """It is done at once, and answered after `wait_ms`; a webhook sets out that much later."""

    ON = frozenset(On)
    wait_ms: WaitMs = 3_000


class Slow(Rule, frozen=True, tag="slow"):
    """It is done after `wait_ms`, whether or not anybody still waits for it, and then answered."""

    wait_ms: WaitMs = 3_000


class Silent(Rule, frozen=True, tag="silent"):
    """No answer. `done`: it is done all the same."""

    done: bool = True


class Error(Rule, frozen=True, tag="error"):
    """An error of the provider's own. `done`: it is done all the same."""

    status: Literal[429, 500, 503] = 500
    done: bool = False


class Reset(Rule, frozen=True, tag="reset"):
    """The connection is reset before a word of the answer. `done`: it is done all the same."""

    done: bool = True


class Cut(Rule, frozen=True, tag="cut"):
    """It is done, and the connection reset in the middle of the answer."""


class WrongAmount(Rule, frozen=True, tag="wrong_amount"):
    """The amount is `by_minor` more (or less). In the `books` it really is; in the `answer` it only says so."""

    ON = frozenset({On.CHARGE, On.CONFIRM, On.CAPTURE, On.REFUND})
    by_minor: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 1
    where: Where = "books"

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        if self.by_minor == 0:
            raise ValueError("by_minor: 0 is the right amount")
        if self.where == "books" and self.on is On.CONFIRM:
            raise ValueError("where: what a confirmation takes is the charge's amount; only the answer can be wrong")


class WrongCurrency(Rule, frozen=True, tag="wrong_currency"):
    """As `wrong_amount`, for the currency."""

    ON = frozenset({On.CHARGE, On.CONFIRM, On.CAPTURE, On.REFUND})
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "XTS"
    where: Where = "books"

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        if self.where == "books" and self.on is not On.CHARGE:
            raise ValueError("where: a charge keeps its currency; only the answer can be wrong")


class WrongReference(Rule, frozen=True, tag="wrong_reference"):
    """As `wrong_amount`, for the reference: the charge is somebody else's."""

    ON = frozenset({On.CHARGE})
    says: Annotated[str, Meta(min_length=1, max_length=200)] = "somebody-elses"
    where: Where = "books"


class Double(Rule, frozen=True, tag="double"):
    """Two charges are made instead of one; a webhook is sent twice, the second after `wait_ms`."""

    ON = frozenset({On.CHARGE, On.WEBHOOK})
    wait_ms: WaitMs = 200


class UnknownStatus(Rule, frozen=True, tag="unknown_status"):
    """The answer has a status that nobody has heard of."""

    word: Annotated[str, Meta(pattern="^[a-z_]{1,40}$")] = "settling"


class Garbage(Rule, frozen=True, tag="garbage"):
    """It is done, and the answer is a 200 that is no JSON."""


class Pending(Rule, frozen=True, tag="pending"):
    """The refund is accepted and stays `pending` for `wait_ms`; `then` it succeeds or fails."""

    ON = frozenset({On.REFUND})
    wait_ms: WaitMs = 2_000
    then: Literal["succeeded", "failed"] = "succeeded"


class Never(Rule, frozen=True, tag="never"):
    """The webhook is not sent."""

    ON = frozenset({On.WEBHOOK})


class BeforeAnswer(Rule, frozen=True, tag="before_answer"):
    """The webhook is sent first; the call's answer waits until it was taken, 2 s at most."""

    ON = frozenset({On.WEBHOOK})


class Overtaken(Rule, frozen=True, tag="overtaken"):
    """The webhook waits until the next one about the same reference has left, `wait_ms` at most."""

    ON = frozenset({On.WEBHOOK})
    wait_ms: WaitMs = 5_000


class OldSignature(Rule, frozen=True, tag="old_signature"):
    """The webhook is signed as if it were `age_s` old; so is each repetition."""

    ON = frozenset({On.WEBHOOK})
    age_s: Annotated[int, Meta(ge=1, le=86_400)] = 600


class UnknownCharge(Rule, frozen=True, tag="unknown_charge"):
    """Beside the webhook, one more is sent, about something that does not exist."""

    ON = frozenset({On.WEBHOOK})


AnyRule: TypeAlias = (
    Late
    | Slow
    | Silent
    | Error
    | Reset
    | Cut
    | WrongAmount
    | WrongCurrency
    | WrongReference
    | Double
    | UnknownStatus
    | Garbage
    | Pending
    | Never
    | BeforeAnswer
    | Overtaken
    | OldSignature
    | UnknownCharge
)
RULES: tuple[type[Rule], ...] = AnyRule.__args__


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole script. Without rules, everything goes well. `seed`: what `chance` is drawn from, default PSP_SANDBOX_SEED."""

    rules: Annotated[tuple[AnyRule, ...], Meta(max_length=RULES_MAX)] = ()
    seed: int | None = None


def read_script(text: str) -> Script:
    """The script in `text`, JSON; an empty one has no rules.

    Raises:
        ValueError: it is no script; says what is wrong and where.
    """
    if not text.strip():
        return Script()
    try:
        return msgspec.json.decode(text, type=Script)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from None
    except (msgspec.DecodeError, UnicodeError):
        raise ValueError("not valid JSON") from None
