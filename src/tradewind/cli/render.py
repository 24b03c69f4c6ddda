"""`tradewind render`: the deployment files, generated from the code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from tradewind.stack.errors import StackError
from tradewind.stack.rooms import all_rooms

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("what", type=click.Choice(["compose", "k8s", "monitoring", "envoy", "all"]))
@click.option("--write", "folder", type=_FOLDER, help="Write the files below FOLDER, the repository, instead.")
@click.option(
    "--secrets", type=_FOLDER, help="Make the passwords and keys that are missing in this folder, a file each."
)
def render(what: str, folder: Path | None, secrets: Path | None) -> None:
    """Print docker-compose.yml, the Kubernetes manifests, the monitoring files, or Envoy's bootstrap.

    `all` is the first three. The bootstrap is the one `tradewind run gateway` starts Envoy with in a container; GATEWAY_*
    variables change it as they change that one.
    """
    if secrets is not None:
        if what not in ("compose", "k8s"):
            raise click.UsageError("--secrets goes with compose or k8s")
        _make_secrets(secrets)
        return
    if what == "envoy":
        if folder is not None:
            raise click.UsageError("the bootstrap is printed, not written: `tradewind run gateway` makes its own")
        click.echo(_bootstrap(os.environ))
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


def _bootstrap(environ: Mapping[str, str]) -> str:
    """Envoy's bootstrap as indented JSON. Raises StackError that names each wrong variable."""
    from tradewind.deploy.containers import gateway
    from tradewind.mesh.bootstrap import bootstrap_config
    from tradewind.stack.envoy import gateway_settings

    answered = {name: value for name, value in gateway().environment.values.items() if isinstance(value, str)}
    no_secret = {"GATEWAY_REGISTRY_SECRET": "-"}  # required by the gateway, and no part of the bootstrap
    settings = gateway_settings({**no_secret, **answered, **environ})
    try:
        bootstrap = bootstrap_config(settings.bootstrap)
    except ValueError as error:
        raise StackError(str(error)) from error
    return msgspec.json.format(msgspec.json.encode(bootstrap), indent=2).decode()
