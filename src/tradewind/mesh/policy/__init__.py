"""The one policy table of the mesh: how long, how often, how many, and who may call whom. Envoy enforces it for all alike.

`rows.py` is what a row holds, `defaults.py` our own rows with the reason beside each, `table.py` how rows of services,
routes and calls come together. What an operation declares itself (`timeout_s`, `max_body_bytes`, `rate`, `access`) is
where the operation is, and bounded here.
"""

from __future__ import annotations

from tradewind.mesh.policy.rows import (
    Bucket,
    Call,
    Demand,
    Ejection,
    Limits,
    RateLimits,
    Retries,
    RoutePolicy,
    ServicePolicy,
)

__all__ = ["Bucket", "Call", "Demand", "Ejection", "Limits", "RateLimits", "Retries", "RoutePolicy", "ServicePolicy"]
