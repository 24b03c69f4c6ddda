"""Where the control port is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradewind.cli.control_port import control_url
from tradewind.stack.errors import StackError
from tradewind.stack.state import State


@pytest.mark.parametrize("url", ["http://gateway:8082", "https://gateway:8082"])
def test_it_is_the_local_registry(tmp_path: Path, url: str) -> None:
    assert control_url({"TRADEWIND_HOME": str(tmp_path), "REGISTRY_URL": url}) == url


@pytest.mark.parametrize("elsewhere", ["", "consul://127.0.0.1:8500", "dns:///svc"])
def test_another_registry_is_none_and_the_stack_has_it(tmp_path: Path, elsewhere: str) -> None:
    environ = {"TRADEWIND_HOME": str(tmp_path), "REGISTRY_URL": elsewhere}
    with pytest.raises(StackError, match="nothing runs in"):
        control_url(environ)
    state = State.of(environ)
    state.create()
    state.write_ports({"gateway-1": {"control_port": 4711}})
    assert control_url(environ) == "http://127.0.0.1:4711"
