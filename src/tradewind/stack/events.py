"""What the supervisor tells while it works: plain dictionaries, so that they travel through a pipe as JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tradewind.stack import logfiles
from tradewind.stack.instance import Death

Event = dict[str, Any]
"""`event` names it; the other fields are those of the functions below."""


def process(row: dict[str, Any], death: Death | None) -> Event:
    """A process changed its state; with `exit_code`, `failures` and `restart_in_s` when it ended by itself."""
    event: Event = {"event": "process", **row}
    if death is not None:
        event |= {"exit_code": death.code, "failures": death.failures, "restart_in_s": death.pause_s}
    return event


def failing(name: str, log: Path) -> Event:
    """A process ended several times without becoming ready: its last lines and the likely fix."""
    tail = logfiles.tail_text(log)
    return {"event": "failing", "name": name, "tail": tail, "fix": likely_fix(name, tail)}


def ready(elapsed_s: float) -> Event:
    """An order can be placed."""
    return {"event": "ready", "elapsed_s": round(elapsed_s, 2)}


def stopping() -> Event:
    """The end has begun."""
    return {"event": "stopping"}


def stopped() -> Event:
    """Nothing runs any more."""
    return {"event": "stopped"}


def notice(text: str) -> Event:
    """Something worth a line."""
    return {"event": "notice", "text": text}


def administrator(email: str, password: str) -> Event:
    """The first administrator was made just now. Shown once; never write this event to a file."""
    return {"event": "administrator", "email": email, "password": password}


def likely_fix(name: str, said: str) -> str:
    """One line on what to do about a process that keeps ending, from its last words."""
    for words, fix in _FIXES:
        if words in said.lower():
            return fix
    return f"read the whole story: tradewind logs {name}"


_FIXES = (
    ("address already in use", "a port was taken meanwhile; it is tried again with another one"),
    ("no space left on device", "free some disk space; `tradewind doctor` shows how much there is"),
    ("cannot allocate memory", "the machine is out of memory; stop something, or scale rooms down"),
    ("permission denied", "`tradewind doctor` says what this user may not do"),
    ("no module named", "the installation is incomplete: make setup"),
    (
        "password authentication failed",
        "the state folder and the database disagree; `tradewind up --fresh` starts anew",
    ),
    ("missing.", "set the variable named above in the environment of `tradewind up`"),
    ("does not fit", "correct the variable named above in the environment of `tradewind up`"),
)
