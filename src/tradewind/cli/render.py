"""`tradewind render`: the deployment files, generated from the code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tradewind.stack.errors import StackError
from tradewind.stack.rooms import all_rooms

if TYPE_CHECKING:
    from tradewind.mesh.policy.table import PolicyTable
    from tradewind.services.gateway.settings import GatewaySettings

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("what", type=click.Choice(["compose", "k8s", "monitoring", "envoy", "all"]))
@click.option("--write", "folder", type=_FOLDER, help="Write the files below FOLDER, the repository, instead.")
@click.option(
    "--current", is_flag=True, help="With envoy --write: what the running gateway sends, not what the code alone says."
)
@click.option(
    "--secrets", type=_FOLDER, help="Make the passwords and keys that are missing in this folder, a file each."
)
def render(what: str, folder: Path | None, secrets: Path | None, current: bool) -> None:
    """Print docker-compose.yml, the Kubernetes manifests, the monitoring files, or Envoy's bootstrap.

    `all` is the first three. The bootstrap is the one `tradewind run gateway` starts Envoy with in a container; GATEWAY_*
    variables change it as they change that one. `envoy --write FOLDER` writes it with the clusters, endpoints and routes
    that the control plane sends, and all in one as static.json, which `envoy --mode validate` takes.
    """
    if current and (what != "envoy" or folder is None):
        raise click.UsageError("--current goes with envoy --write FOLDER")
    if secrets is not None:
        if what not in ("compose", "k8s"):
            raise click.UsageError("--secrets goes with compose or k8s")
        _make_secrets(secrets)
        return
    if what == "envoy":
        settings = _gateway_settings(os.environ)
        bootstrap = _bootstrap(settings)
        if folder is None:
            click.echo(msgspec.json.format(msgspec.json.encode(bootstrap), indent=2).decode())
        else:
            _write_envoy(folder, settings, bootstrap, current=current)
        return
    from tradewind.deploy import catalogue

    found = catalogue.files(list(catalogue.GROUPS) if what == "all" else [what], all_rooms())
    if folder is None:
        click.echo(catalogue.printed(found), nl=False)
        return
    try:
        changed = catalogue.write(found, folder)
    except OSError as error:
        raise StackError(f"{error.filename}: {error.strerror}") from error
    click.echo("\n".join(changed) or "nothing to change")


def _make_secrets(folder: Path) -> None:
    from tradewind.deploy.containers import every_container
    from tradewind.deploy.secret_files import secret_names, write_secrets

    rooms = all_rooms()
    try:
        made = write_secrets(folder, secret_names(every_container(rooms)), rooms)
    except OSError as error:
        raise StackError(f"{error.filename}: {error.strerror}") from error
    click.echo("\n".join(f"made {folder / name}" for name in made) or "all secrets are there")


def _gateway_settings(environ: Mapping[str, str]) -> GatewaySettings:
    """Those of a gateway in a container, changed by `environ`. Raises StackError that names each wrong variable."""
    from tradewind.deploy.containers import gateway
    from tradewind.stack.envoy import gateway_settings

    answered = {name: value for name, value in gateway().environment.values.items() if isinstance(value, str)}
    no_secret = {"GATEWAY_REGISTRY_SECRET": "-"}  # required by the gateway, and no part of the bootstrap
    return gateway_settings({**no_secret, **answered, **environ})


def _bootstrap(settings: GatewaySettings) -> dict[str, Any]:
    from tradewind.mesh.bootstrap import bootstrap_config

    try:
        return bootstrap_config(settings.bootstrap)
    except ValueError as error:
        raise StackError(str(error)) from error


def _write_envoy(folder: Path, settings: GatewaySettings, bootstrap: dict[str, Any], *, current: bool) -> None:
    from tradewind.deploy.envoy_files import default_resources, envoy_files

    if current:
        from tradewind.cli.control_port import ask_control_port

        resources = msgspec.json.decode(ask_control_port("GET", "/v1/mesh/resources"))
    else:
        resources = default_resources(all_rooms(), settings, _policies(settings))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in envoy_files(bootstrap, resources).items():
            (folder / name).write_text(text, encoding="utf-8")
            click.echo(str(folder / name))
    except OSError as error:
        raise StackError(f"{error.filename}: {error.strerror}") from error


def _policies(settings: GatewaySettings) -> PolicyTable:
    from tradewind.mesh.policy.file import PolicyInvalid, overlaid
    from tradewind.mesh.policy.table import our_table

    if not settings.policy_file:
        return our_table()
    try:
        return overlaid(Path(settings.policy_file).read_text(encoding="utf-8"), our_table())
    except PolicyInvalid as error:
        raise StackError(
            "\n".join(f"{fault.code}: {settings.policy_file}: {fault}" for fault in error.faults)
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{settings.policy_file}: {error}") from error
