"""The command that shows sources live, and channels of `record`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhsi_shared import open_cube
from openhsi_shared.cli.channels import _delivers
from openhsi_shared.control.status import ChannelStatus
from tests.support.commands import run_here

Run = Callable[..., Any]


def test_every_source_is_shown_live(run_apart: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[channels.load]\nsource = "sys:load"\nperiod_s = 0.1\n')
    ended = run_apart("channels", "--channels", "mine.toml", "--channel", "clock=sim:clock,rate=50", "--seconds", 1.2)
    assert ended.code == 0, ended.err
    head, *rows = ended.out.splitlines()
    assert head.split() == ["channel", "value", "unit", "age", "rate", "lag", "offset", "state"]
    assert [row.split()[0] for row in rows[:2]] == ["load", "clock"]
    assert all("good" in row for row in rows[:2])
    assert "percent" in rows[0]


def test_a_required_source_that_is_silent_is_exit_code_1(run: Run) -> None:
    silent = 'silent=sim:sine,script={"0":"silence"}'
    ended = run("channels", "--channel", silent, "--channel", "a=sim:sine", "--seconds", 1)
    assert ended.code == 1
    assert ended.err.endswith("Error: nothing from silent (sim:sine)\n")
    assert run("channels", "--channel", f"{silent},required=false", "--seconds", 1).code == 0


@pytest.mark.parametrize(
    ("state", "delivers"),
    [("good", True), ("unchanged", True), ("ended", True), ("no fix", False), ("refused", False), ("lost", False)],
)
def test_a_source_that_has_delivered_is_silent_where_nothing_comes_any_more(state: str, delivers: bool) -> None:
    texts, numbers = dict.fromkeys(("source", "unit", "why"), ""), dict.fromkeys(("age_s", "rate", "lag_s"), 0.0)
    counts = {"offset_s": 0.0, "delivered": 5, "refused": 0, "squashed": 0}
    status = ChannelStatus(fields=("value",), values=(1.0,), state=state, **texts, **numbers, **counts)
    assert _delivers(status) == delivers


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give --channel NAME=SOURCE"),
        (("--channel", "sim:sine"), "is not NAME=SOURCE"),
        (("--channel", "a=sim:sine", "--channel", "a=sim:ramp"), "given twice"),
        (("--channel", "a=sin:sine"), "did you mean sim"),
        (("--channel", "a=sim:sine,rat=3"), "did you mean rate"),
        (("--channels", "none.toml"), "none.toml cannot be read"),
        (("--channel", "a=sim:spot"), "Recorder"),
    ],
)
def test_what_is_no_source_is_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = run_here(tmp_path, "channels", *arguments, "--seconds", 1)
    assert ended.code != 0
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_record_takes_them(record: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[channels.ramp]\nsource = "sim:ramp"\n')
    ended = record("--lines", 8, "--cubes", 2, "--channels", "mine.toml", "--channel", "clock=sim:clock,how=linear")
    assert ended.code == 0, ended.err
    for path in (tmp_path / "flight").rglob("*.nc"):
        with open_cube(path) as cube:
            assert {"ramp", "clock", "clock_age", "clock_state"} <= set(cube.dataset.variables)
    ended = record("--cubes", 1, "--channel", "clock=sim:clok")
    assert ended.code == 1
    assert "did you mean clock" in ended.err
