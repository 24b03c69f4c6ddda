"""Limits that all gateways share: what Envoy asks the control plane about costly requests, and how that stands."""

from __future__ import annotations

from tradewind.mesh.rate_limits import SHARED_CLASS
from tradewind.mesh.shared_limits import Verdict, verdict
from tradewind.services.gateway.parts import Parts


async def ask_shared_limit(parts: Parts, *, subject: str, address: str) -> Verdict:
    """Whether all gateways together let a costly request of this client pass, by its subject where it has one.

    It passes where nobody can count: Envoy's own limit has let it pass already.
    """
    bucket = parts.control_plane.limits.auth
    who = f"subject:{subject}" if subject else f"address:{address}"
    asked = parts.shared_buckets
    take = await asked.take(f"{SHARED_CLASS}:{who}", per_s=bucket.per_s, most=bucket.burst) if asked else None
    if take is None:
        parts.figures.count_limit("away")
        return Verdict()
    parts.figures.count_limit("taken" if take.taken else "refused")
    return verdict(SHARED_CLASS, bucket, take)


async def watch_shared_limits(parts: Parts) -> None:
    """See whether Valkey is there to count in."""
    if parts.shared_buckets is not None:
        await parts.shared_buckets.watch()
        parts.figures.note_shared_limits(parts.shared_buckets.away)


def shared_limits_view(parts: Parts) -> dict[str, str]:
    """`shared`; `local` with the reason, while Valkey is away; `off` where there is none."""
    if parts.shared_buckets is None:
        return {"state": "off", "reason": "VALKEY_URL is not set"}
    away = parts.shared_buckets.away
    return {"state": "local" if away else "shared", "reason": away}
