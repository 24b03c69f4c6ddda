"""The published contracts: kept by the code, complete, and true of what is written and read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tradewind.published.changes import breaches, unpublished
from tradewind.published.readers import heard_by
from tradewind.published.schemas import ENVELOPE, all_contracts, all_schemas
from tradewind.published.shelf import FOLDER, retire, shelved, text, write

REPOSITORY = Path(__file__).parents[2]
SHELF = REPOSITORY / FOLDER


def test_nothing_that_was_published_is_broken() -> None:
    assert [str(breach) for breach in breaches(shelved(SHELF), all_schemas())] == []


def test_everything_is_published_as_it_is() -> None:
    assert unpublished(shelved(SHELF), all_schemas()) == [], "run `make publish-contracts`"
    for type_, schema in shelved(SHELF).items():
        assert (SHELF / f"{type_}.json").read_bytes() == text(schema), "edited by hand"


def test_every_event_names_its_key_and_stands_in_its_producers_contract() -> None:
    for contract in all_contracts():
        for event in contract.events:
            assert contract.topic == event.TOPIC, event.TYPE
            assert event.KEY, f"{event.TYPE} needs a KEY, the field with its aggregate's id"
            assert len({each.KEY for each in contract.events if each.TOPIC == event.TOPIC}) == 1


def test_whatever_is_heard_is_published() -> None:
    assert heard_by().keys() - all_schemas().keys() == set()


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tradewind.published", *words],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_publishing_writes_what_is_new_and_refuses_what_breaks(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert len(first.stdout.splitlines()) == len(all_schemas())
    assert run(tmp_path).stdout == ""
    shelf = tmp_path / FOLDER
    placed = msgspec.json.decode((shelf / "order.placed.v1.json").read_bytes())
    placed["properties"]["gift"] = {"type": "boolean"}
    write(shelf, "order.placed.v1", placed)
    (shelf / "order.shipped.v1.json").unlink()
    refused = run(tmp_path)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "order.placed.v1 at $.gift: the field is gone" in refused.stderr
    assert "put the change into order.placed.v2 beside it" in refused.stderr
    assert not (shelf / "order.shipped.v1.json").exists(), "all or nothing"


def test_a_version_ends_when_nobody_tells_or_hears_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "order.placed.v1", all_schemas()["order.placed.v1"])
    with pytest.raises(ValueError, match="never published"):
        retire(tmp_path, "order.lost.v1")
    with pytest.raises(ValueError, match="still in the contracts"):
        retire(tmp_path, "order.placed.v1")
    monkeypatch.setattr("tradewind.published.shelf.all_schemas", dict)
    with pytest.raises(ValueError, match="still heard by analytics-service, payment-service"):
        retire(tmp_path, "order.placed.v1")
    monkeypatch.setattr("tradewind.published.shelf.heard_by", dict)
    retire(tmp_path, "order.placed.v1")
    assert shelved(tmp_path) == {}
    assert run(tmp_path, "what").returncode == 2


def test_the_envelope_is_published_too() -> None:
    assert set(shelved(SHELF)[ENVELOPE]["required"]) >= {"id", "source", "type", "specversion", "subject", "time"}
