"""`tradewind config` where nothing runs: the layers of its own environment, and the store of a stopped platform."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tradewind.chassis.live_document import Document
from tradewind.cli import main
from tradewind.cli.config_change import roll_back, set_value
from tradewind.mesh.live_stores.local import LocalStore
from tradewind.stack.errors import StackError
from tradewind.stack.state import State


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder in which a platform ran once."""
    state = State(tmp_path / "state")
    state.create()
    lock = state.lock()
    assert lock is not None
    lock.release()
    monkeypatch.setenv("TRADEWIND_HOME", str(state.folder))
    monkeypatch.delenv("LIVE_CONFIG_URL", raising=False)
    return state.folder


def config(*words: str) -> Result:
    return CliRunner().invoke(main, ["config", *words])


def store_of(folder: Path) -> LocalStore:
    return LocalStore(str(folder / "config" / "live.json"))


class Late(LocalStore):
    """A writer whose look at the store is from before somebody else's change."""

    def __init__(self, path: Path, seen: Document) -> None:
        super().__init__(str(path))
        self._seen: Document | None = seen

    async def read(self) -> Document:
        """The old document once, for the look before the change; then what is there."""
        seen, self._seen = self._seen, None
        return seen or await super().read()


def test_a_setting_of_a_stopped_platform_holds_from_its_next_start(folder: Path) -> None:
    (folder / "tradewind.toml").write_text('[all]\nlog_level = "error"\n')
    assert "in force from the next start on" in config("set", "log_level", "debug").output
    shown = msgspec.json.decode(config("show", "order", "--format", "json").output)
    (row,) = (row for row in shown["instances"][0]["settings"] if row["key"] == "LOG_LEVEL")
    assert (row["value"], row["origin"], row["layers"]) == ("debug", "live", {"live": "debug", "file": "error"})
    explained = config("explain", "LOG_LEVEL").output
    assert "live         debug  <- in force" in explained
    assert "file         error" in explained
    assert "default      info" in explained
    assert "nothing changes" in str(config("set", "LOG_LEVEL", "debug").stderr)


def test_who_was_outrun_is_told_by_whom_and_nothing_changes(folder: Path) -> None:
    before = Document()
    set_value(store_of(folder), "LOG_LEVEL", "debug", "first")
    path = folder / "config" / "live.json"
    whole = path.read_bytes()
    with pytest.raises(StackError, match="was faster: version 1 changed LOG_LEVEL"):
        set_value(Late(path, before), "ORDER_EXPIRY_BATCH", "7", "second")
    assert path.read_bytes() == whole


def test_a_rollback_is_held_to_todays_bounds(folder: Path) -> None:
    store = store_of(folder)
    set_value(store, "ORDER_EXPIRY_BATCH", "7", "")
    set_value(store, "ORDER_EXPIRY_BATCH", "8", "")
    path = folder / "config" / "live.json"
    path.write_bytes(path.read_bytes().replace(b'"7"', b'"0"'))  # what an older version allowed
    whole = path.read_bytes()
    with pytest.raises(StackError, match="'0' does not fit"):
        roll_back(store, 1, "")
    assert path.read_bytes() == whole
    roll_back(store, 0, "")
    assert '"values": {}' in path.read_text()


def test_where_nothing_ever_ran_there_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_HOME", str(tmp_path / "never"))
    monkeypatch.delenv("LIVE_CONFIG_URL", raising=False)
    refused = config("set", "LOG_LEVEL", "debug")
    assert refused.exit_code == 1
    assert "there is no live store" in refused.stderr
    assert config("show", "order").exit_code == 0
    assert not (tmp_path / "never").exists()


def test_what_the_file_has_wrong_is_named(folder: Path) -> None:
    (folder / "tradewind.toml").write_text("[order]\npending_ttl = 5\n")
    refused = config("show", "order")
    assert refused.exit_code == 1
    assert "[order] pending_ttl: there is no such setting. Did you mean pending_ttl_s" in refused.stderr
