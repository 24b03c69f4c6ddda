"""What follows from a handler's failure: one function turns an error into retry, patience or dead letter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tradewind.chassis.errors import Invalid, Unavailable
from tradewind.chassis.events import Undecodable


class Verdict(Enum):
    """`AGAIN` counts against the attempts, `LATER` does not, `NEVER` goes to the dead letters at once."""

    AGAIN = "again"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True)
class RetryPolicy:
    """How often a message is tried and how long its key waits between: doubling from `first_s` up to `most_s`.

    The defaults give up after 8 attempts and 12.7 s.
    """

    attempts: int = 8
    first_s: float = 0.1
    most_s: float = 10.0

    def pause_s(self, failures: int) -> float:
        """The wait after the `failures`-th failure in a row, counted from 1."""
        return min(self.first_s * 2.0 ** min(failures - 1, 30), self.most_s)


def judge(error: BaseException) -> Verdict:
    """What to do with a message whose handler raised `error`.

    An event that cannot be read, or that a rule calls invalid, will not get better. A neighbour that is away is not the
    message's fault. All else may be a passing state: a conflict, a deadlock, a row that another topic brings later.
    The room's own database being away is no verdict on any message; the loop waits for it before it asks here.
    """
    if isinstance(error, Undecodable | Invalid):
        return Verdict.NEVER
    if isinstance(error, Unavailable) and error.code != "database-unavailable":
        return Verdict.LATER
    return Verdict.AGAIN
