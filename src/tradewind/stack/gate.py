"""A process that was started before its turn loads its code, then waits here: on two cores, imports are what start-up costs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

GATE = "TRADEWIND_GATE"
"""Environment variable with the descriptor on which a process started early waits for its turn."""


def wait_for_turn(environ: Mapping[str, str] = os.environ) -> None:
    """Block until the supervisor opens the gate; without one, return at once. Exits when the supervisor is gone."""
    descriptor = environ.get(GATE, "")
    if not descriptor.isdigit():
        return
    opened = os.read(int(descriptor), 1)
    os.close(int(descriptor))
    if not opened:
        sys.exit(0)
