"""Reading Envoy's admin interface: is it there, and did it take what it was told?"""

from __future__ import annotations

import re

import aiohttp
import msgspec

from tradewind.chassis.answers import read_answer
from tradewind.mesh.loaded import LoadedEndpoint, LoadedVersions, endpoints_in, versions_in

TIMEOUT_S = 2.0
MAX_STATS_BYTES = 8 * 1024 * 1024
STATS_FILTER = (
    r"(update_rejected|update_success|update_failure)$"
    r"|^server\.(live|uptime|version|memory_allocated)$"
    r"|^http\.(edge|egress)\.(downstream_rq_(total|[1-5]xx|active)|downstream_cx_active)$"
    r"|^cluster\.[^.]+\.(membership_(total|healthy)|upstream_rq_(total|retry|retry_overflow|pending_overflow|active)"
    r"|circuit_breakers\.default\.(cx|cx_pool|rq|rq_pending|rq_retry)_open"
    r"|upstream_rq_(5xx|timeout)|outlier_detection\.ejections_(active|enforced_total))$"
    r"|edge_rate_limit\.(ok|rate_limited)$"
)

_NUMBER = re.compile(r"^([^:]+): (\d+)$")


class EnvoyAway(Exception):
    """The admin interface does not answer."""


class EnvoyStats(msgspec.Struct, frozen=True):
    """Counters and gauges by Envoy's own names."""

    values: dict[str, int]

    @property
    def refused_updates(self) -> dict[str, int]:
        """Updates that Envoy did not accept, by subscription (`cluster_manager.cds`); only those above zero."""
        ending = ".update_rejected"
        return {name[: -len(ending)]: count for name, count in self.values.items() if name.endswith(ending) and count}

    def clusters(self) -> dict[str, dict[str, int]]:
        """The figures of each cluster by the rest of their names (`membership_healthy`)."""
        found: dict[str, dict[str, int]] = {}
        for name, count in self.values.items():
            if name.startswith("cluster."):
                _, cluster, figure = name.split(".", 2)
                found.setdefault(cluster, {})[figure] = count
        return found

    def listener(self, name: str) -> dict[str, int]:
        """The figures of one listener (`edge`, `egress`) by the rest of their names."""
        start = f"http.{name}."
        return {key[len(start) :]: count for key, count in self.values.items() if key.startswith(start)}


class EnvoyAdmin:
    """One Envoy's admin interface at `url`, which is only ever on loopback or the private network."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def stats(self) -> EnvoyStats:
        """Read the figures named by `STATS_FILTER`.

        Raises:
            EnvoyAway: it did not answer in time.
        """
        text = await self._get("/stats", {"filter": STATS_FILTER})
        numbers = (match.groups() for line in text.splitlines() if (match := _NUMBER.match(line)))
        return EnvoyStats({name: int(value) for name, value in numbers})

    async def endpoints(self) -> dict[str, tuple[LoadedEndpoint, ...]]:
        """All endpoints it has loaded, by cluster.

        Raises:
            EnvoyAway: it did not answer in time, or not as expected.
        """
        try:
            return endpoints_in(await self._get("/clusters", {"format": "json"}))
        except msgspec.MsgspecError as exc:
            raise EnvoyAway(f"/clusters: {exc}") from exc

    async def versions(self) -> LoadedVersions:
        """The versions of all clusters and route configurations it has loaded.

        Raises:
            EnvoyAway: it did not answer in time, or not as expected.
        """
        clusters, routes = ("dynamic_active_clusters", "dynamic_route_configs")
        try:
            return versions_in(
                await self._get("/config_dump", {"resource": clusters}),
                await self._get("/config_dump", {"resource": routes}),
            )
        except msgspec.MsgspecError as exc:
            raise EnvoyAway(f"/config_dump: {exc}") from exc

    async def is_live(self) -> bool:
        """Whether it has its configuration and listens."""
        try:
            return (await self._get("/ready", {})).strip() == "LIVE"
        except EnvoyAway:
            return False

    async def drain(self) -> None:
        """Tell clients to go elsewhere: `Connection: close` on every answer from now on. Never raises."""
        try:
            async with self._open().post(f"{self._url}/drain_listeners?graceful&skip_exit") as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    async def _get(self, path: str, query: dict[str, str]) -> str:
        try:
            async with self._open().get(self._url + path, params=query, raise_for_status=True) as answer:
                return (await read_answer(answer, MAX_STATS_BYTES)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise EnvoyAway(str(exc) or type(exc).__name__) from exc

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        return self._session
