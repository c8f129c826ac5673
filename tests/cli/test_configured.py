"""`openhsi-shared record --config FILE`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openhsi_shared import open_cube
from openhsi_shared.files.flight_log import FlightLog

Run = Callable[..., Any]

CONFIG = """
[record]
camera = "simulated"
out = "configured"
lines = 16
buffers = 4
cubes = 2
when_full = "block"
prefix = "file-"
[camera]
rate = 5000.0
exposure_ms = 2.0
mode = "counting"
resolution = [16, 48]
row_slice = [2, 14]
[channels.load]
source = "sim:sine"
"""


def test_a_recording_has_the_values_of_its_file_and_the_command_line_goes_before_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "flight.toml").write_text(CONFIG)
    ended = run(
        *("record", "--config", "flight.toml", "--cubes", 1, "--prefix", "line-", "--option", "exposure_ms=3"),
        *("--rate", "any"),
    )
    assert ended.code == 0, ended.err
    (file,) = (tmp_path / "configured").rglob("*.nc")
    assert file.name.startswith("line-")
    with open_cube(file) as cube:
        assert cube.lines.shape == (16, 16, 48)  # raw: whole frames
        assert json.loads(cube.attributes["settings"])["exposure_ms"] == 3
        assert "load" in cube.channels
    noted = [one for one in FlightLog(tmp_path / "configured").entries()[0] if one["kind"] == "config"]
    assert len(noted) == 1
    assert (noted[0]["record"]["lines"], noted[0]["record"]["cubes"], noted[0]["record"]["prefix"]) == (16, 1, "line-")
    assert noted[0]["channels"] == {"load": {"source": "sim:sine"}}


def test_what_is_wrong_in_the_file_is_one_line_and_nothing_is_recorded(run: Run, tmp_path: Path) -> None:
    for text, words in {
        CONFIG.replace("buffers", "bufers"): "did you mean buffers?",
        CONFIG.replace("exposure_ms", "exposure_mss"): "did you mean exposure_ms?",
        CONFIG + "[camera2]": "did you mean camera?",
        CONFIG.replace("mode =", "n_lines = 4\nmode ="): "[camera] n_lines: use the key of [record]",
        CONFIG.replace("source", "sorce"): "did you mean source?",
    }.items():
        (tmp_path / "flight.toml").write_text(text)
        ended = run("record", "--config", "flight.toml")
        assert ended.code != 0
        assert words in ended.err
        assert "Traceback" not in ended.err
    assert not list(tmp_path.rglob("*.nc"))
