"""Recording from the command line: files, messages, and exit code."""

import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from openhsi_shared import open_cube
from openhsi_shared.drivers.simulated import check_frame, frame_number
from tests.cli.conftest import ENVIRONMENT, SMALL
from tests.support.commands import run_here
from tests.support.helpers import wait_for
from tests.support.products import some

Run = Callable[..., Any]

TOO_FAST = ("--rate", 1e5, "--option", "queue=1", "--lines", 500, "--cubes", 2)
"""A camera that is too fast for any machine."""
ENDLESS = (
    *("--option", "resolution=[16,48]", "--option", "row_slice=[2,14]", "--option", "mode=counting"),
    *("--rate", 500, "--lines", 50, "--option", "queue=9999", "--when-full", "block"),
)
"""A camera of which nothing is lost, however busy the machine is."""


def _numbers(directory: Path) -> list[int]:
    """Numbers of all frames in all files, each of which proved itself; files in the order of their names."""
    numbers = []
    for path in sorted(directory.rglob("*.nc")):
        with open_cube(path) as cube:
            lines = np.asarray(cube.lines[:])
        assert all(check_frame(line) for line in lines)
        numbers += [frame_number(line) for line in lines]
    return numbers


# ---- what is recorded ----


def test_four_cubes_without_any_other_option_are_recorded_into_flight(run_apart: Run, tmp_path: Path) -> None:
    ended = run_apart("record", "--cubes", 4, "--lines", 16)
    assert ended.code == 0, ended.err
    files = sorted((tmp_path / "flight").rglob("*.nc"))
    assert len(files) == 4
    for file in files:
        with Image.open(file.with_suffix(".png")) as image:
            assert image.size == (16, 644)
            assert image.mode == "RGB"
    assert str(tmp_path / "flight") in ended.out
    assert all(file.name in ended.out for file in files)
    assert "keys" not in ended.err, "its input is no terminal"


def test_it_ends_after_the_seconds_and_saves_the_unfinished_cube(record: Run, tmp_path: Path) -> None:
    ended = record("--rate", 200, "--option", "queue=9999", "--seconds", 1, "--lines", 10_000)
    assert ended.code == 0, ended.err
    numbers = _numbers(tmp_path / "flight")
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 10_000


def test_level_and_names_and_metadata_and_compression_arrive_in_the_file(record: Run, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"title": "a beach"}')
    (tmp_path / "settings.json").write_text('{"resolution": [16, 48], "camera_id": "my camera", "exposure_ms": 3}')
    ended = record(
        *(
            "--level",
            0,
            "--compat",
            "openhsi",
            "--lines",
            4,
            "--cubes",
            1,
            "--out",
            "away",
            "--prefix",
            "first-",
            "--suffix",
            "-raw",
        ),
        *("--meta", "meta.json", "--compression", "deflate", "--compression-level", 1, "--settings", "settings.json"),
    )
    assert ended.code == 0, ended.err
    (file,) = (tmp_path / "away").rglob("*.nc")
    assert file.name.startswith("first-")
    assert file.name.endswith("-raw.nc")
    with open_cube(file) as cube:
        assert np.asarray(cube.lines[:]).shape == (4, 12, 48)  # rows 2 to 14
        assert cube.level == 0
        assert cube.attributes["level_arithmetic"] == "openhsi"
        assert cube.attributes["title"] == "a beach"
        settings = json.loads(cube.attributes["settings"])
    assert (settings["camera_id"], settings["exposure_ms"]) == ("my camera", 3)


def test_every_line_is_in_the_files_once_and_in_order_and_a_saved_flight_can_be_replayed(
    record: Run, run: Run, tmp_path: Path
) -> None:
    ended = record("--lines", 8, "--cubes", 3)
    assert ended.code == 0, ended.err
    assert _numbers(tmp_path / "flight") == list(range(24))
    assert "cubes     3" in ended.out
    assert "lines     24" in ended.out
    assert "lost      0" in ended.out
    ended = run(
        *("record", "--camera", "replay", "--option", "path=flight", "--rate", "any", "--out", "again"),
        *("--lines", 10),
    )
    assert ended.code == 0, ended.err
    assert _numbers(tmp_path / "again") == list(range(24))


# ---- what is lost ----


def test_a_lost_line_is_told_and_makes_the_exit_code_1(record: Run, tmp_path: Path) -> None:
    ended = record(*TOO_FAST)
    assert ended.code == 1
    numbers = _numbers(tmp_path / "flight")
    (n_lost,) = map(int, re.findall(r"^lost +(\d+)  \(frame ids ", ended.out, re.MULTILINE))
    assert n_lost >= numbers[-1] + 1 - len(numbers) > 0
    assert ended.err.splitlines()[-1] == f"Error: {n_lost} lines were lost (use --allow-loss to ignore this)"


# ---- how it is stopped ----


@pytest.mark.parametrize("how", some(signal.SIGTERM, all_of=(signal.SIGINT, signal.SIGTERM)))
def test_a_signal_ends_it_in_good_order(start: Run, tmp_path: Path, how: signal.Signals) -> None:
    with start("record", *ENDLESS) as process:
        wait_for(lambda: len(list((tmp_path / "flight").rglob("*.nc"))) >= 2)
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    numbers = _numbers(tmp_path / "flight")
    assert numbers == list(range(len(numbers)))
    assert f"lines     {len(numbers)}" in out
    assert "lost      0" in out
    assert "stopping: the cubes collected so far are being saved" in err


def test_a_recording_whose_command_is_killed_saves_what_it_has(start: Run, tmp_path: Path) -> None:
    with start("record", *ENDLESS) as process:
        wait_for(lambda: len(list((tmp_path / "flight").rglob("*.nc"))) >= 2)
        process.kill()
    wait_for(lambda: not _works_in(tmp_path))
    numbers = _numbers(tmp_path / "flight")
    assert numbers == list(range(len(numbers)))


def _works_in(directory: Path) -> bool:
    """Whether some process has `directory` as its working directory."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(directory):
                return True
    return False


# ---- errors ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [  # those of the campaign take the way of others: from the recording, of an option that another test passes on
        (("--camera", "simulatid"), "there is no driver called 'simulatid' (did you mean simulated?)"),
        pytest.param(
            ("--settings", "nowhere.json"), "settings file nowhere.json cannot be read", marks=pytest.mark.campaign
        ),
        (("--calibration", "nowhere.nc"), "nowhere.nc"),
        (("--meta", "nowhere.json"), "nowhere.json"),
        pytest.param(("--level", "77"), "processing_lvl must be one of", marks=pytest.mark.campaign),
        (("--option", "ratee=3"), "has no keyword 'ratee' (did you mean rate?)"),
        pytest.param(("--option", "mode=HgArr"), "did you mean HgAr?", marks=pytest.mark.campaign),
        (("--lines", "10000000000"), "use fewer lines or slots"),
        pytest.param(("--rate", "-3"), "rate must be > 0", marks=pytest.mark.campaign),
        (("--average", "1"), "average must be a whole number of frames from 2 to 64"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = run_here(tmp_path, "record", "--cubes", 1, "--lines", 4, *arguments)
    assert ended.code == 1
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("Error: ")
    assert words in line


@pytest.mark.root
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to give a directory to another user")
def test_a_page_that_cannot_be_opened_is_a_warning_and_all_is_recorded(run: Run, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    (runtime / "openhsi_shared").mkdir(parents=True)
    os.chown(runtime / "openhsi_shared", 12345, 12345)
    ended = run("record", "--view", *SMALL, "--lines", 4, "--cubes", 3, XDG_RUNTIME_DIR=str(runtime))
    assert ended.code == 0
    (warning,) = (line for line in ended.err.splitlines() if "live view disabled" in line)
    assert "belongs to another user" in warning
    assert _numbers(tmp_path / "flight") == list(range(12))


def test_a_broken_settings_file_is_named_with_its_fault(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"exposure_ms": -1}')
    ended = run("record", "--cubes", 1, "--settings", "broken.json")
    assert ended.code == 1
    assert "settings file broken.json: exposure_ms: " in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cubes", "0"), "0 is not in the range x>=1"),
        (("--seconds", "0"), "0.0 is not in the range x>0"),
        (("--rate", "fast"), "'fast' is neither a number of lines/s, nor 'any', nor 'recorded'"),
        (("--option", "mode"), "'mode' is not KEY=VALUE"),
        (("--option", "n_lines=5"), "--option n_lines: use the dedicated option for this"),
        (("--option", "queue=1", "--option", "queue=2"), "--option queue is given twice, as 1 and as 2"),
        (("--camera", "basler", "--rate", "5"), "camera 'basler' sets its own rate"),
        (("--compression", "zip"), "'zip' is not one of"),
        (("--what",), "No such option"),
    ],
)
def test_a_wrong_option_is_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = run_here(tmp_path, "record", *arguments)
    assert ended.code == 2
    assert words in ended.err


def test_a_directory_that_cannot_be_made_is_known_before_the_first_line(record: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = record("--cubes", 1, "--out", "file/below")
    assert ended.code == 1
    assert ended.out == ""
    assert str(tmp_path / "file" / "below") in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_camera_that_is_lost_leaves_what_it_gave(record: Run, tmp_path: Path) -> None:
    ended = record("--lines", 8, "--option", 'script={"20": "unplug"}')
    assert ended.code == 1
    assert "Error: " in ended.err
    assert "lines     20" in ended.out
    assert _numbers(tmp_path / "flight") == list(range(20))


def test_the_traceback_comes_with_v(run_apart: Run) -> None:
    ended = run_apart("-v", "record", "--settings", "nowhere.json")
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert "SettingsNotFound: settings file nowhere.json" in ended.err


def test_a_flight_goes_to_the_fallback_when_its_directory_vanishes(start: Run, tmp_path: Path) -> None:
    with start("record", *ENDLESS, "--rate", 100, "--cubes", 12, "--fallback", "spare") as process:
        wait_for(lambda: list((tmp_path / "flight").rglob("*.png")))
        (tmp_path / "flight").rename(tmp_path / "gone")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    both = _numbers(tmp_path / "gone") + _numbers(tmp_path / "spare")
    assert both == list(range(600))
    assert str(tmp_path / "spare") in out


HEAVY = ("numpy", "pydantic", "xarray", "h5py", "matplotlib", "bokeh", "PIL", "tqdm")


@pytest.mark.parametrize(
    ("arguments", "text"), [(["--help"], "Record cubes without a gap"), (["record", "--help"], "--allow-loss")]
)
def test_help_loads_nothing_heavy(arguments: list[str], text: str, python: Run) -> None:
    loaded = python(
        "import sys; from click.testing import CliRunner; from openhsi_shared.cli import main; "
        f"shown = CliRunner().invoke(main, {arguments}); assert shown.exit_code == 0; assert {text!r} in shown.output; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_threads_for_linear_algebra_do_not_spin_in_a_command(python: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ENVIRONMENT, "OPENBLAS_THREAD_TIMEOUT", raising=False)
    found = python(
        "import os, sys; from click.testing import CliRunner; from openhsi_shared.cli import main; "
        "assert CliRunner().invoke(main, ['verify', 'nothing']).exit_code; "
        "print(os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    )
    assert found.strip() == "4"
