"""Asking the control plane at its control port: as an administrator for what changes traffic, as a reader for what it shows."""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tradewind.cli.platform_access import signing_keys_file
from tradewind.mesh.identity import operator_token as reader_token
from tradewind.stack.errors import StackError
from tradewind.stack.handed_in import variable
from tradewind.stack.state import State
from tradewind.traffic.operator import operator_token

TIMEOUT_S = 30.0
"""The control plane waits at most 2 s for its Envoys, but one may be asked why it refused something: a while on a busy machine."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


def ask_control_port(
    method: str, path: str, body: bytes | None = None, environ: Mapping[str, str] = os.environ
) -> bytes:
    """The body of a successful answer to an administrator, with a token made from the platform's own signing keys.

    Raises:
        StackError: there is no control plane, it does not answer, or it refuses; its own words say why.
    """
    return _ask(control_url(environ), method, path, operator_token(signing_keys_file(environ)), body)


def control_json(path: str, environ: Mapping[str, str], url: str = "") -> Any:
    """The JSON that the control port at `url` (empty: see `control_url`) shows to operators and rooms at `path`.

    Raises:
        StackError: as `ask_control_port`, or it answers with something else than JSON.
    """
    url = url.rstrip("/") or control_url(environ)
    try:
        return msgspec.json.decode(_ask(url, "GET", path, _reader(environ)))
    except msgspec.DecodeError as error:
        raise StackError(f"{url} does not answer as a gateway's control port does: {error}") from error


def control_url(environ: Mapping[str, str] = os.environ) -> str:
    """Where the control port is: `REGISTRY_URL` where that is no other registry (Consul, DNS), or the stack's of the state folder.

    Raises:
        StackError: neither is there.
    """
    if (given := variable("REGISTRY_URL", environ) or "").startswith(("http://", "https://")):
        return given
    ports = State.of(environ).ports().get("gateway-1")
    if not isinstance(ports, dict):
        raise StackError(
            f"nothing runs in {State.of(environ).folder}", "start it with `tradewind up`, or set REGISTRY_URL"
        )
    return f"http://127.0.0.1:{ports['control_port']}"


def _ask(url: str, method: str, path: str, token: str, body: bytes | None = None) -> bytes:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise StackError(f"{url} is no http URL")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    except ValueError as error:
        raise StackError(f"{url} is no http URL: {error}") from error
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise StackError(f"the control plane at {url} does not answer: {error}", "tradewind ps") from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise StackError(_said(content) or f"the control plane answered {answer.status}")
    return content


def _said(content: bytes) -> str:
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.MsgspecError:
        return ""
    return f"{problem.code}: {problem.detail}" if problem.code else problem.detail


def _reader(environ: Mapping[str, str]) -> str:
    """A room's token, if the environment has one, or the operator's of the stack of the state folder."""
    if given := variable("REGISTRY_TOKEN", environ):
        return given
    return reader_token(State.of(environ).secrets().get("platform"))
