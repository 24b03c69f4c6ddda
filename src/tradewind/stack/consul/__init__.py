"""A Consul agent as a process of ours: one server that is its own cluster, for tests and to try things.

    async with ConsulEngine(folder) as consul:
        ... CONSUL_HTTP_ADDR={consul.address}

`tradewind up` starts none: it takes one by `--consul`. `python -m tradewind.stack.consul run` starts one by hand.
"""

from __future__ import annotations

from tradewind.stack.consul.agent import ConsulEngine
from tradewind.stack.consul.binary import fetch, find

__all__ = ["ConsulEngine", "fetch", "find"]
