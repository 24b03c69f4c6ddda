"""Where the settings of a stack are kept beside the environment: the file somebody wrote, and the live store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tradewind.chassis.settings_file import FILE_VARIABLE

FILE_NAME = "tradewind.toml"
LIVE_VARIABLE = "LIVE_CONFIG_URL"


def config_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    """The file of settings: the one that is named, else `tradewind.toml` in the state folder or beside it; None: none."""
    if named := environ.get(FILE_VARIABLE):
        return Path(named).absolute()
    return next((path for path in (folder / FILE_NAME, folder.parent / FILE_NAME) if path.is_file()), None)


def live_config_url(environ: Mapping[str, str], folder: Path) -> str:
    """The live store: the one that is named, else a file of the state folder."""
    return environ.get(LIVE_VARIABLE) or (folder / "config" / "live.json").absolute().as_uri()
