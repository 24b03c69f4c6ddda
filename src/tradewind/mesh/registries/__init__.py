"""Where instances are known from: one module a registry, and beside it how an instance makes itself known there.

`REGISTRY_URL` chooses, for the gateway and for the rooms alike:

    (empty), http://gateway:8082    local: rooms announce themselves to the gateway
    consul://host:8500              Consul; consuls:// with TLS
    dns://[server]/domain           names that others write, such as Kubernetes' headless services (`dns_names.py`)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tradewind.chassis.consul import Consul, ConsulAddress
from tradewind.chassis.lifecycle import Registrar
from tradewind.chassis.settings import ServiceSettings, SettingsError
from tradewind.mesh.discovery import Registry
from tradewind.mesh.identity import RoomIdentities
from tradewind.mesh.registries.consul import ConsulRegistry
from tradewind.mesh.registries.consul_registrar import ConsulRegistrar
from tradewind.mesh.registries.local import LocalRegistry
from tradewind.mesh.registries.local_registrar import LocalRegistrar
from tradewind.mesh.state_file import StateFile

if TYPE_CHECKING:
    from tradewind.mesh.registries.dns_names import Names

LOCAL, CONSUL, DNS = ("", "http", "https"), ("consul", "consuls"), ("dns",)


def registry_of(
    settings: ServiceSettings, identities: RoomIdentities, file: StateFile, services: Iterable[str]
) -> Registry:
    """The registry that `settings` name, not running yet. `services` are those to look for where none can be listed.

    Raises:
        SettingsError: REGISTRY_URL or a file of Consul's is wrong.
    """
    if _scheme(settings) in CONSUL:
        return ConsulRegistry(_consul(settings), identities, file)
    if _scheme(settings) in DNS:
        from tradewind.mesh.registries.dns import DnsRegistry

        return DnsRegistry(_names(settings), services, identities, file)
    return LocalRegistry(file)


def registrar_of(settings: ServiceSettings) -> Registrar | None:
    """The way into it; None when nobody said where the registry is.

    Raises:
        SettingsError: REGISTRY_URL or a file of Consul's is wrong.
    """
    scheme = _scheme(settings)
    if not settings.registry_url or settings.registry_token is None:
        return None
    token = settings.registry_token.reveal()
    if scheme in CONSUL:
        return ConsulRegistrar(_consul(settings), token)
    if scheme in DNS:
        from tradewind.mesh.registries.dns_registrar import DnsRegistrar

        return DnsRegistrar(_names(settings))
    return LocalRegistrar(settings.registry_url, token)


def _scheme(settings: ServiceSettings) -> str:
    scheme = urlsplit(settings.registry_url).scheme
    if scheme not in LOCAL + CONSUL + DNS:
        raise SettingsError(
            [
                f"REGISTRY_URL: {scheme}: is no registry; there are {', '.join(f'{name}://' for name in (LOCAL + CONSUL + DNS)[1:])}"
            ]
        )
    return scheme


def _names(settings: ServiceSettings) -> Names:
    # Where the registry is another, a process of 58 MB need not load a resolver.
    from tradewind.mesh.registries.dns_names import Names

    try:
        return Names.parse(settings.registry_url)
    except ValueError as exc:
        raise SettingsError([f"REGISTRY_URL: {exc}"]) from exc


def _consul(settings: ServiceSettings) -> Consul:
    try:
        address = ConsulAddress.parse(
            settings.registry_url,
            settings.consul_token,
            ca_file=settings.consul_ca,
            certificate_file=settings.consul_cert,
            key_file=settings.consul_key,
        )
        return Consul(address)
    except (ValueError, OSError) as exc:
        raise SettingsError([f"REGISTRY_URL: {exc}"]) from exc
