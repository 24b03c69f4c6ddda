"""Log lines of everything that runs, read into one kind of record."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tradewind.stack import logfiles
from tradewind.stack.errors import StackError
from tradewind.stack.logstream import Reader, Record, level_of, merged, parse, wanted


def at(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def read(name: str, *lines: str) -> list[Record]:
    reader = Reader(name)
    return [*reader.read(line.encode() for line in lines), *reader.rest()]


def test_a_service_line_keeps_its_fields() -> None:
    line = '{"ts":"2026-01-02T03:04:05.678Z","level":"warning","service":"order-service","instance":"order-1","event":"late","trace_id":"ab","n":3}'
    record = parse("order-1", line)
    assert record is not None
    assert (record.at, record.level, record.text) == (at("2026-01-02T03:04:05.678+00:00"), "warning", "late")
    assert record.fields == {"trace_id": "ab", "n": 3}


def test_an_exception_stands_below_its_event() -> None:
    record = parse(
        "order-1", '{"ts":"2026-01-02T03:04:05Z","event":"broke","exception":{"type":"X","stack":"Traceback\\n  X"}}'
    )
    assert record is not None
    assert record.text == "broke\nTraceback\n  X"


def test_postgres_lines_and_their_details_are_one_record() -> None:
    records = read(
        "postgres",
        "2026-01-02 03:04:05.678 UTC [42] order-1 order_service ERROR:  division by zero",
        "2026-01-02 03:04:05.678 UTC [42] order-1 order_service STATEMENT:  SELECT 1/0",
        "2026-01-02 03:04:06.000 UTC [1] LOG:  checkpoint starting",
    )
    assert [(record.level, record.text.split("\n")[0]) for record in records] == [
        ("error", "division by zero"),
        ("info", "checkpoint starting"),
    ]
    assert "STATEMENT:  SELECT 1/0" in records[0].text
    assert records[0].fields == {"by": "order-1 order_service"}
    assert records[0].at == at("2026-01-02T03:04:05.678+00:00")


def test_valkey_lines() -> None:
    record = parse("valkey", "16655:M 02 Jan 2026 03:04:05.678 # something is off")
    assert record is not None
    assert (record.at, record.level, record.text) == (
        at("2026-01-02T03:04:05.678+00:00"),
        "warning",
        "something is off",
    )


def test_a_traceback_belongs_to_the_line_above_it() -> None:
    records = read(
        "x", "2026-01-02T03:04:05.678Z ERROR it broke", "Traceback:", "  File x", "2026-01-02T03:04:06.000Z INFO on"
    )
    assert [record.text for record in records] == ["it broke\nTraceback:\n  File x", "on"]


def test_lines_before_the_first_time_come_first() -> None:
    records = read("x", "creating files", "2026-01-02T03:04:05.678Z INFO up")
    assert [(record.at > 0, record.text) for record in records] == [(False, "creating files"), (True, "up")]


@pytest.mark.parametrize(
    ("word", "level"), [("WARN", "warning"), ("FATAL", "critical"), ("DEBUG2", "debug"), ("LOG", "info"), ("?", "info")]
)
def test_levels_have_one_name(word: str, level: str) -> None:
    assert level_of(word) == level


def test_filters() -> None:
    record = Record(100.0, "order-1", "warning", "late", raw='{"trace_id":"abc"}')
    assert wanted(record, since=99.0, level="warning", trace="abc")
    assert not wanted(record, since=101.0)
    assert not wanted(record, level="error")
    assert not wanted(record, trace="abd")


def test_files_are_merged_in_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.log.1").write_text("2026-01-02T03:04:01.000Z INFO one\n")
    (tmp_path / "a.log").write_text("2026-01-02T03:04:03.000Z INFO three\n")
    (tmp_path / "b.log").write_text("2026-01-02T03:04:02.000Z INFO two\n")
    files = [(name, logfiles.files_of(tmp_path, name)) for name in ("a", "b")]
    assert [record.text for record in merged(files)] == ["one", "two", "three"]


def test_a_name_is_a_room_or_a_process(tmp_path: Path) -> None:
    for name in ("order-1", "order-2", "envoy", "psp-sandbox"):
        (tmp_path / f"{name}.log").touch()
    assert logfiles.chosen(tmp_path, ["order"]) == ["order-1", "order-2"]
    assert logfiles.chosen(tmp_path, ["order-2", "envoy"]) == ["envoy", "order-2"]
    assert logfiles.chosen(tmp_path, []) == ["envoy", "order-1", "order-2", "psp-sandbox"]
    with pytest.raises(StackError, match="no logs of psp"):
        logfiles.chosen(tmp_path, ["psp"])


def test_a_log_over_the_limit_is_emptied_into_its_predecessor(tmp_path: Path) -> None:
    log = tmp_path / "order-1.log"
    with log.open("a") as child:  # the writer keeps its descriptor, as a running process does
        child.write("before\n")
        child.flush()
        assert logfiles.rotate(tmp_path, limit_bytes=3) == [log]
        child.write("after\n")
    assert (tmp_path / "order-1.log.1").read_text() == "before\n"
    assert log.read_text() == "after\n"
    assert logfiles.rotate(tmp_path, limit_bytes=100) == []


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("\n".join(str(number) for number in range(100)))
    assert logfiles.tail_text(log, lines=2) == "98\n99"
    assert logfiles.tail_text(tmp_path / "none.log") == ""
