"""Turns what is discovered into what Envoy is told: one snapshot of clusters, endpoints and routes a change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tradewind.chassis.logs import get_logger
from tradewind.mesh.clusters import endpoints, named_cluster, service_cluster
from tradewind.mesh.cors import Cors, with_cors
from tradewind.mesh.description import DeclaredRoute
from tradewind.mesh.discovery import Discovery, KnownService
from tradewind.mesh.envoy_json import Json
from tradewind.mesh.intervening import intervened
from tradewind.mesh.interventions import Intervention
from tradewind.mesh.policy import RateLimits
from tradewind.mesh.policy.table import PolicyTable, our_table
from tradewind.mesh.route_config import EDGE, EGRESS, edge_routes, egress_routes
from tradewind.mesh.routes import RouteTable, route_table
from tradewind.mesh.tls_sockets import SecretFiles
from tradewind.mesh.xds import Kind, Xds

_log = get_logger(__name__)


class ControlPlane:
    """Publishes to `xds` whatever `discovery` knows, now and after every change.

    `own_service` is the control plane's own public service. Its cluster is fixed in Envoy's bootstrap, and its
    operations, `own_routes`, come before those of all others. `interventions` are what operators do to traffic now.
    """

    def __init__(
        self,
        discovery: Discovery,
        xds: Xds,
        limits: RateLimits,
        *,
        own_service: str,
        own_routes: Iterable[DeclaredRoute] = (),
        policies: PolicyTable | None = None,
        cors: Cors | None = None,
        interventions: Callable[[], Iterable[Intervention]] = tuple,
        secret_files: SecretFiles | None = None,
    ) -> None:
        self._discovery = discovery
        self._xds = xds
        self.limits = limits
        self.policies = policies or our_table()
        self._cors = cors or Cors()
        self._interventions = interventions
        self._own_service = own_service
        self._own_routes = tuple(own_routes)
        self._secret_files = secret_files
        self.table = RouteTable(())
        discovery.on_change(self.publish)
        self.publish()

    def take(self, policies: PolicyTable) -> None:
        """Let another table hold from now on."""
        self.policies = policies
        self.publish()

    def set_limits(self, limits: RateLimits) -> None:
        """Other rate limits of the edge, from now on. The buckets start full, as after every change of the routes."""
        self.limits = limits
        self.publish()

    def publish(self) -> None:
        """Make the snapshot anew; Envoy hears of it only if it differs."""
        services = self._discovery.services()
        own = ((self._own_service, route) for route in self._own_routes)
        table = route_table(services, own)
        for conflict in set(table.conflicts) - set(self.table.conflicts):
            _log.warning(
                "an operation gets no requests: another service declared it first",
                operation=conflict.operation,
                declared_by=conflict.service,
                served_by=conflict.served_by,
            )
        self.table = table = self.policies.applied(table)
        others = sorted(services.keys() - {self._own_service})
        snapshot: Mapping[Kind, Mapping[str, Json]] = {
            "clusters": {name: self._cluster(services[name]) for name in others},
            "endpoints": {name: endpoints(name, services[name].instances) for name in others},
            "routes": {
                EDGE: with_cors(edge_routes(table, self.limits, self.policies), self._cors, self._own_service),
                EGRESS: egress_routes(
                    services, self.policies, also=(self._own_service,), identified=self._secret_files is not None
                ),
            },
        }
        self._xds.publish(intervened(snapshot, services, self._interventions()))

    def _cluster(self, known: KnownService) -> Json:
        policy = self.policies.service(known.service)
        if known.resolved is not None:
            return named_cluster(known.service, known.resolved, policy, self._secret_files)
        return service_cluster(known.service, policy, self._secret_files)
