"""`python -m tradewind.sandbox`: the provider stand-in until SIGTERM; exit code 1 and one line when it cannot start."""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop

from tradewind.chassis import logs
from tradewind.chassis.settings import SettingsError
from tradewind.sandbox.app import serve
from tradewind.sandbox.database import StateError
from tradewind.sandbox.server import listen
from tradewind.sandbox.settings import read_settings

NAME = "psp-sandbox"


def main() -> int:
    """Read the environment, take the port, serve."""
    try:
        settings = read_settings(os.environ)
        logs.configure(NAME, NAME, settings.log_level, settings.log_format)
        listener = listen(settings.host, settings.port)
    except SettingsError as exc:
        return _refuse("; ".join(exc.faults))
    except OSError as exc:
        return _refuse(f"PSP_SANDBOX_HOST, PSP_SANDBOX_PORT: {settings.host}:{settings.port}: {exc.strerror or exc}")
    try:
        with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, listener))
    except StateError as exc:
        return _refuse(f"PSP_SANDBOX_STATE: {exc}")
    return 0


def _refuse(reason: str) -> int:
    sys.stderr.write(f"{NAME} cannot start: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
