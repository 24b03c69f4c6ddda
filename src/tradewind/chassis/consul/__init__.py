"""Consul's HTTP API, as far as we use it: requests, blocking queries, and keys."""

from __future__ import annotations

from tradewind.chassis.consul.address import ConsulAddress
from tradewind.chassis.consul.client import Consul, ConsulAway, ConsulProblem, ConsulRefused, Seen
from tradewind.chassis.consul.kv import ConsulKv, Entry

__all__ = ["Consul", "ConsulAddress", "ConsulAway", "ConsulKv", "ConsulProblem", "ConsulRefused", "Entry", "Seen"]
