"""Reading what the control port shows to operators and rooms, from a short-lived command."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import msgspec

from tradewind.cli.control_port import control_url
from tradewind.mesh.identity import operator_token
from tradewind.stack.errors import StackError
from tradewind.stack.handed_in import variable
from tradewind.stack.state import State

TIMEOUT_S = 30.0
"""Envoy itself may be asked why it refused something, which takes it a while on a busy machine."""


def control_json(path: str, environ: Mapping[str, str], url: str = "") -> Any:
    """The JSON that the control port at `url` (empty: see `control_url`) answers to a GET of `path`.

    Raises:
        StackError: it does not answer, or not with JSON.
    """
    address = (url.rstrip("/") or control_url(environ)) + path
    if not address.startswith(("http://", "https://")):
        raise StackError(f"{address} is no http URL")
    try:
        asked = urllib.request.Request(address, headers={"authorization": f"Bearer {_token(environ)}"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked above
            return msgspec.json.decode(answer.read())
    except (urllib.error.URLError, TimeoutError, ValueError, OSError) as error:
        raise StackError(f"{address} does not answer as a gateway's control port does: {error}") from error


def _token(environ: Mapping[str, str]) -> str:
    """A room's token, if the environment has one, or the operator's of the stack of the state folder."""
    if given := variable("REGISTRY_TOKEN", environ):
        return given
    return operator_token(State.of(environ).secrets().get("platform"))
