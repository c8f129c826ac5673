"""The log of a flight: no line is torn or lost, whichever program writes, and no disk makes it raise."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from openhsi_shared.files.flight_log import FlightLog
from tests.support.helpers import in_child


def note_many(directory: str, who: str, n: int) -> None:
    log = FlightLog(directory)
    for k in range(n):
        log.note("mark", who=who, k=k, text=who * 5000)


def test_an_entry_is_one_line_of_strict_json_whatever_is_in_it(tmp_path):
    FlightLog(tmp_path).note(
        "mark", text="two\nlines \u2192 \udcff", nan=float("nan"), n=np.int64(3), path=Path("a"), ids=[1, (2, np.inf)]
    )
    (line,) = (tmp_path / "flight_log.jsonl").read_bytes().splitlines()
    entry = json.loads(line, parse_constant=None)
    assert abs(datetime.fromisoformat(entry.pop("time")) - datetime.now(UTC)).total_seconds() < 60
    assert entry == {
        "kind": "mark",
        "text": "two\nlines \u2192 \udcff",
        "nan": None,
        "n": 3,
        "path": "a",
        "ids": [1, [2, None]],
    }


def test_two_programs_write_one_log_and_each_line_is_whole(tmp_path):
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(in_child, note_many, str(tmp_path), who, 200) for who in "ab"]
        for one in waiting:
            one.result()
    entries, damaged = FlightLog(tmp_path).entries()
    assert damaged == []
    for who in "ab":
        assert [entry["k"] for entry in entries if entry["who"] == who] == list(range(200))
    assert all(entry["text"] == entry["who"] * 5000 for entry in entries)


def test_a_line_that_was_cut_is_named_and_the_next_one_is_whole(tmp_path):
    log = FlightLog(tmp_path)
    assert log.entries() == ([], [])
    log.note("start")
    with log.path.open("ab") as file:
        file.write(b'{"time": "2026-')
    log.note("stop")
    with log.path.open("ab") as file:
        file.write(b'[1]\n{"kind": 1}\n\xff\n')
    entries, damaged = log.entries()
    assert [entry["kind"] for entry in entries] == ["start", "stop"]
    assert damaged == [2, 4, 5, 6]


def test_a_log_that_cannot_be_written_is_one_warning(tmp_path, caplog):
    log = FlightLog(tmp_path)
    log.path.symlink_to("/dev/full")
    for _ in range(3):
        log.note("mark")
    (record,) = caplog.records
    assert f"{log.path} is not complete, the cubes are not affected: {os.strerror(28)}" in record.getMessage()
    FlightLog(tmp_path / "gone").note("mark")
    assert "No such file or directory" in caplog.text
