"""Asking the control plane as an operator: its control port, with a token made from the platform's own signing keys."""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from tradewind.cli.platform_access import signing_keys_file
from tradewind.stack.errors import StackError
from tradewind.stack.handed_in import variable
from tradewind.stack.state import State
from tradewind.traffic.operator import operator_token

TIMEOUT_S = 10.0
"""The control plane itself waits at most 2 s for its Envoys."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


def ask_control_port(
    method: str, path: str, body: bytes | None = None, environ: Mapping[str, str] = os.environ
) -> bytes:
    """The body of a successful answer.

    Raises:
        StackError: there is no control plane, it does not answer, or it refuses; its own words say why.
    """
    url = control_url(environ)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT_S)
    headers = {
        "authorization": f"Bearer {operator_token(signing_keys_file(environ))}",
        "content-type": "application/json",
    }
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read(MAX_ANSWER_BYTES)
    except OSError as error:
        raise StackError(f"the control plane at {url} does not answer: {error}", "tradewind ps") from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise StackError(_said(content) or f"the control plane answered {answer.status}")
    return content


def control_url(environ: Mapping[str, str] = os.environ) -> str:
    """Where the control port is: `REGISTRY_URL`, or that of the stack of the state folder.

    Raises:
        StackError: neither is there.
    """
    if given := variable("REGISTRY_URL", environ):
        return given
    ports = State.of(environ).ports().get("gateway-1")
    if not isinstance(ports, dict):
        raise StackError(
            f"nothing runs in {State.of(environ).folder}", "start it with `tradewind up`, or set REGISTRY_URL"
        )
    return f"http://127.0.0.1:{ports['control_port']}"


def _said(content: bytes) -> str:
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.MsgspecError:
        return ""
    return f"{problem.code}: {problem.detail}" if problem.code else problem.detail
