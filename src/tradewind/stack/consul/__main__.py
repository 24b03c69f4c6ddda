"""`python -m tradewind.stack.consul fetch`, or `run [--folder DIR] [--port N]`: an agent in the foreground."""

from __future__ import annotations

import sys

from tradewind.stack.consul.agent import ConsulEngine
from tradewind.stack.consul.binary import fetch
from tradewind.stack.in_the_foreground import Words, foreground

if __name__ == "__main__":
    sys.exit(
        foreground(
            Words("consul", "the agent's program", "an agent"),
            fetch,
            lambda folder, port: ConsulEngine(folder, port=port),
            lambda consul: f"CONSUL_HTTP_ADDR={consul.address}",
        )
    )
