"""xDS by REST long-poll: what each Envoy asked for, was sent, and has accepted.

A poll names the version its Envoy runs (`version_info`) and hangs until there is another one. REST has no message for
a refusal, it shows in the next poll: an Envoy that accepted names the version it was sent, one that refused goes on
naming the old one. A version is a digest of the content, so an Envoy that comes back to a restarted control plane is
not sent what it already has.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from tradewind.mesh.envoy_json import Json

Kind: TypeAlias = Literal["clusters", "endpoints", "routes"]

KINDS: tuple[Kind, ...] = ("clusters", "endpoints", "routes")
HOLD_S = 25.0
"""How long a poll hangs at most; below the 40 s after which Envoy gives it up."""
AWAY_AFTER_S = 2.0
"""Envoy polls again at once, so one that has not for this long is gone."""
FORGET_AFTER_S = 600.0
DELIVERIES_BEFORE_REFUSED = 2
"""An answer can be lost on the way, so one delivery that was not accepted says nothing yet."""
OFFER_AGAIN_S = 5.0
MAX_SUBSCRIPTIONS = 10_000


class Poll(msgspec.Struct):
    """The members of a DiscoveryRequest that matter here."""

    class Node(msgspec.Struct):
        """Who asks."""

        id: str = ""

    class Error(msgspec.Struct):
        """Why the last version was refused (gRPC sends it; Envoy's REST client does not)."""

        message: str = ""

    version_info: str = ""
    node: Node = msgspec.field(default_factory=Node)
    resource_names: list[str] = []
    error_detail: Error | None = None


class Standing(msgspec.Struct, frozen=True):
    """How one Envoy stands to one subscription.

    `refused` is the current version if it was offered and not accepted; `reason` says why, if that is known.
    """

    node: str
    kind: str
    names: tuple[str, ...]
    connected: bool
    accepted: str
    current: str
    refused: str
    reason: str


class _Subscription:
    def __init__(self) -> None:
        self.accepted = ""
        self.sent = ""
        self.deliveries = 0
        self.refused = ""
        self.reason = ""
        self.polling = 0
        self.seen_s = 0.0


_Key: TypeAlias = tuple[str, Kind, tuple[str, ...]]


class Xds:
    """The resources of all kinds and every subscription to them. Belongs to one event loop."""

    def __init__(self, *, hold_s: float = HOLD_S, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._hold_s = hold_s
        self._monotonic_s = monotonic_s
        self._resources: dict[Kind, dict[str, bytes]] = {kind: {} for kind in KINDS}
        self._versions: dict[tuple[Kind, tuple[str, ...]], str] = {}
        self._subscriptions: dict[_Key, _Subscription] = {}
        self._published = _Signal()
        self._polled = _Signal()
        self._closed = False

    def publish(self, resources: Mapping[Kind, Mapping[str, Json]]) -> bool:
        """Replace all resources, each kind by name; False when nothing changed."""
        encoded = {kind: {name: msgspec.json.encode(body) for name, body in resources[kind].items()} for kind in KINDS}
        if encoded == self._resources:
            return False
        self._resources = encoded
        self._versions.clear()
        self._published.fire()
        return True

    def version(self, kind: Kind, names: Sequence[str] = ()) -> str:
        """The version an Envoy that asks for `names` (none: all) ought to run."""
        key = (kind, tuple(names))
        version = self._versions.get(key)
        if version is None:
            digest = hashlib.sha256()
            for name, body in self._chosen(kind, names):
                digest.update(name.encode() + b"\0" + body + b"\0")
            version = self._versions[key] = digest.hexdigest()[:16]
        return version

    async def poll(self, kind: Kind, poll: Poll) -> bytes | None:
        """A DiscoveryResponse as soon as there is one to send, or None when the poll's time is up."""
        names = tuple(poll.resource_names)
        subscription = self._subscription((poll.node.id, kind, names))
        self._take_note(subscription, poll)
        self._polled.fire()
        subscription.polling += 1
        try:
            version = await self._next_version(subscription, kind, names, poll.version_info)
        finally:
            subscription.polling -= 1
            subscription.seen_s = self._monotonic_s()
        if version is None:
            return None
        subscription.deliveries = subscription.deliveries + 1 if version == subscription.sent else 1
        subscription.sent = version
        resources = [msgspec.Raw(body) for _, body in self._chosen(kind, names)]
        return msgspec.json.encode({"version_info": version, "resources": resources, "nonce": version})

    async def wait_until_accepted(self, service: str, timeout_s: float) -> bool:
        """Wait until every connected Envoy runs the current clusters, routes, and endpoints of `service`.

        False when one did not within `timeout_s`; an Envoy that goes away meanwhile is not waited for.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    changed = self._polled.next()
                    if self._accepted(service):
                        return True
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(AWAY_AFTER_S / 4):
                            await changed
        return self._accepted(service)

    def standings(self) -> list[Standing]:
        """All subscriptions, by node and kind."""
        return [self._standing(key, self._subscriptions[key]) for key in sorted(self._subscriptions)]

    def note_refusal(self, kind: Kind, reason: str) -> None:
        """Keep the reason that an Envoy wrote to its log for refusing a version of `kind`."""
        for (_, its_kind, _), subscription in self._subscriptions.items():
            if its_kind == kind and subscription.accepted != subscription.sent:
                subscription.reason = reason

    def explain(self, standing: Standing, reason: str) -> None:
        """Keep a reason found otherwise for the refusal that `standing` tells of."""
        for (node, kind, names), subscription in self._subscriptions.items():
            if (node, kind, names) == (standing.node, standing.kind, standing.names) and not subscription.reason:
                subscription.reason = reason

    def resources(self, kind: Kind) -> dict[str, Json]:
        """What is published of `kind`, by name."""
        return {name: msgspec.json.decode(body) for name, body in self._resources[kind].items()}

    def nodes(self) -> list[str]:
        """The connected Envoys."""
        return sorted(
            {node for (node, _, _), subscription in self._subscriptions.items() if self._connected(subscription)}
        )

    def close(self) -> None:
        """Answer all hanging polls, so that the server under them can stop."""
        self._closed = True
        self._published.fire()

    def _standing(self, key: _Key, subscription: _Subscription) -> Standing:
        node, kind, names = key
        current = self.version(kind, names)
        stands_refused = subscription.refused == current
        return Standing(
            node=node,
            kind=kind,
            names=names,
            connected=self._connected(subscription),
            accepted=subscription.accepted,
            current=current,
            refused=current if stands_refused else "",
            reason=subscription.reason if stands_refused else "",
        )

    def _chosen(self, kind: Kind, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        resources = self._resources[kind]
        for name in names or sorted(resources):
            if name in resources:
                yield name, resources[name]

    def _subscription(self, key: _Key) -> _Subscription:
        found = self._subscriptions.get(key)
        if found is None:
            long_gone_s = self._monotonic_s() - FORGET_AFTER_S
            for old, subscription in list(self._subscriptions.items()):
                if not subscription.polling and subscription.seen_s < long_gone_s:
                    del self._subscriptions[old]
            found = _Subscription()
            if len(self._subscriptions) < MAX_SUBSCRIPTIONS:
                self._subscriptions[key] = found
        return found

    def _take_note(self, subscription: _Subscription, poll: Poll) -> None:
        subscription.accepted = poll.version_info
        if poll.version_info == subscription.sent:
            subscription.deliveries = 0
            subscription.refused = subscription.reason = ""
        elif subscription.deliveries >= DELIVERIES_BEFORE_REFUSED or poll.error_detail is not None:
            subscription.refused = subscription.sent
        if poll.error_detail is not None:
            subscription.reason = poll.error_detail.message

    async def _next_version(
        self, subscription: _Subscription, kind: Kind, names: tuple[str, ...], running: str
    ) -> str | None:
        """Wait for a version other than `running`; one that was refused is offered again only after a while."""
        started_s = self._monotonic_s()
        while not self._closed:
            changed = self._published.next()
            version = self.version(kind, names)
            waited_s = self._monotonic_s() - started_s
            refused = version == subscription.refused and waited_s < OFFER_AGAIN_S
            if version != running and not refused:
                return version
            left_s = (OFFER_AGAIN_S if refused else self._hold_s) - waited_s
            if left_s <= 0:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await changed
        return None

    def _connected(self, subscription: _Subscription) -> bool:
        return subscription.polling > 0 or self._monotonic_s() - subscription.seen_s < AWAY_AFTER_S

    def _accepted(self, service: str) -> bool:
        connected = [(key, sub) for key, sub in self._subscriptions.items() if self._connected(sub)]
        for (_, kind, names), subscription in connected:
            concerned = kind != "endpoints" or service in names
            if concerned and subscription.accepted != self.version(kind, names):
                return False
        if service not in self._resources["endpoints"]:
            return True
        asking = {node for (node, kind, names), _ in connected if kind == "endpoints" and service in names}
        return all(node in asking for (node, kind, _), _ in connected if kind == "clusters")


class _Signal:
    """Wakes everyone who waits, each time it fires; nobody who asks before the next firing misses it."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def next(self) -> asyncio.Future[Any]:
        """A future done by the next firing; shielded, since its waiters come and go."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._next)

    def fire(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None
