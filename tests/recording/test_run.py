"""`record`: nonstop, in a separate process, until the first of its conditions to end."""

import json
import os
import time

import numpy as np
import psutil
import pytest

from openhsi_shared import SharedOpenHSI, SharedSimulatedCamera, record, switched_camera
from openhsi_shared.errors import (
    ArgumentError,
    CameraLost,
    NoFreeSlot,
    OpenHSIError,
    RecordingError,
    SaveError,
    SettingsError,
    UnknownKeyword,
)
from openhsi_shared.files.flight_log import FlightLog
from tests.support import live_pairs
from tests.support.flow import COUNTING, SHAPE, account, cubes_in, frame, processes_in
from tests.support.helpers import wait_for
from tests.support.process_faults import writers_of
from tests.support.products import some

KEYWORDS = {**COUNTING, "n_lines": 8, "progress": False, "queue": 9999, "when_full": "block"}


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def test_so_many_cubes_and_no_line_is_missing_and_nothing_is_printed(tmp_path, capfd):
    with record(SharedSimulatedCamera, tmp_path / "out", n_cubes=20, rate=500, **KEYWORDS) as run:
        summary = run.wait()
    assert (summary.lines, summary.lines_lost, summary.lost_ids, summary.errors) == (160, 0, (), ())
    assert list(summary.paths) == [saved.path for saved in cubes_in(tmp_path / "out")]
    assert account(tmp_path / "out") == (list(range(160)), [])
    assert len(cubes_in(tmp_path / "out")) == 20
    assert str(summary).startswith("160 lines in 20 cubes, 0 lost")
    assert run.summary == summary
    assert not run.is_running
    assert np.isfinite(summary.rate)
    assert capfd.readouterr() == ("", "")
    assert not processes_in(tmp_path)


def test_the_status_tells_how_it_goes_and_how_it_went_and_the_keywords_of_save_go_to_every_save(tmp_path):
    keywords = {"prefix": "a_", "suffix": "_b", "old_style": False, "savefig": False}
    with record(SharedSimulatedCamera, tmp_path, rate=500, **keywords, **KEYWORDS) as run:
        assert run.dc_shape == (16, 8, 32)
        assert run.camera == "SharedSimulatedCamera"
        wait_for(lambda: run.status().cubes >= 3)
        status = run.status()
        assert (status.lines_lost, status.errors) == (0, ())
        assert status.lines >= 24
        assert status.disk_minutes_left > 0
        with pytest.raises(AttributeError):
            status.lines = 0
    after, summary = run.status(), run.summary
    assert (after.lines, after.lines_lost) == (summary.lines, 0)
    assert after.cubes == after.cubes_saved == len(summary.paths)
    assert account(tmp_path) == (list(range(summary.lines)), []), "leaving the block stops it in good order"
    assert {path.name[:2] + path.stem[-2:] for path in summary.paths} == {"a__b"}
    assert {saved.dims for saved in cubes_in(tmp_path)} == {("wavelength", "x", "y")}
    assert not list(tmp_path.rglob("*.png"))


def test_seconds_limit_a_recording_and_the_unfinished_cube_is_saved(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, seconds=1, rate=200, **{**KEYWORDS, "n_lines": 10_000}) as run:
        summary = run.wait()
    assert len(summary.paths) == 1
    entries, _ = FlightLog(tmp_path).entries()
    start, stop = (np.datetime64(entry["time"].removesuffix("Z")) for entry in entries)
    assert stop - start >= np.timedelta64(1, "s")
    assert account(tmp_path) == (list(range(summary.lines)), [])


def test_until_stops_it(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, until=(tmp_path / "stop").exists, rate=500, **KEYWORDS) as run:
        wait_for(lambda: run.status().lines > 20)
        assert run.is_running
        (tmp_path / "stop").touch()
        summary = run.wait(60)
    assert account(tmp_path)[0] == list(range(summary.lines))


class Property:
    def __init__(self, path):
        self.path = path

    @property
    def status(self):
        return not self.path.exists()


class UntilSaved(Property):
    def status(self):
        return not any(self.path.rglob("*.nc"))


def test_a_toggle_with_a_status_ends_it(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, toggle=Property(tmp_path / "off"), rate=500, **KEYWORDS) as run:
        wait_for(lambda: run.status().cubes > 2)
        (tmp_path / "off").touch()
        run.wait(60)
    assert account(tmp_path)[1] == []


def test_switched_camera_is_record_with_a_toggle_and_a_function_may_make_the_camera(tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps({"title": "a flight"}))
    rate = 20  # 0.2 s for a cube
    summary = switched_camera(
        lambda **keywords: SharedSimulatedCamera(rate=rate, queue=9999, **COUNTING | keywords | {"when_full": "block"}),
        n_lines=4,
        processing_lvl=-1,
        preconfig_meta=tmp_path / "metadata.json",
        ssd_dir=tmp_path / "out",
        toggle_interface=UntilSaved(tmp_path / "out"),
    )
    saved = cubes_in(tmp_path / "out")
    assert summary.lines_lost == 0
    assert {cube.attributes["title"] for cube in saved} == {"a flight"}
    numbers = [number for cube in saved for number in cube.numbers]
    assert numbers == list(range(summary.lines))


def test_stop_ends_it_and_saves_the_unfinished_cube_and_a_patience_that_ends_does_not(tmp_path):
    cpu = min(os.sched_getaffinity(0))
    keywords = {**KEYWORDS, "n_lines": 10_000, "niceness": 3, "cpus": [cpu]}
    with record(SharedSimulatedCamera, tmp_path, rate=400, **keywords) as run:
        process = psutil.Process(run.process_id)
        assert (process.nice(), process.cpu_affinity()) == (3 if os.geteuid() == 0 else max(3, os.nice(0)), [cpu])
        with pytest.raises(TimeoutError, match=r"the recording has not ended after 0\.01 s"):
            run.wait(0.01)
        assert run.is_running
        wait_for(lambda: run.status().lines > 5)
        run.stop()
        run.stop()
        summary = run.wait()
    assert summary.lines > 5
    assert account(tmp_path) == (list(range(summary.lines)), [])


def test_a_stop_that_ctrl_c_interrupts_before_it_is_sent_is_sent_by_the_next_one(tmp_path, monkeypatch):
    """A second Ctrl-C may come that soon; else the end of the block would wait for ever."""

    def interrupted(_):
        monkeypatch.undo()
        raise KeyboardInterrupt

    with record(SharedSimulatedCamera, tmp_path / "out", rate=500, **KEYWORDS) as run:
        monkeypatch.setattr(run._child, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.stop()
        assert run.is_running
    assert account(tmp_path / "out") == (list(range(run.summary.lines)), [])


def test_leaving_the_block_by_an_exception_stops_it_as_well(tmp_path):
    with pytest.raises(KeyError), record(SharedSimulatedCamera, tmp_path, rate=400, **KEYWORDS) as run:  # noqa: PT012
        wait_for(lambda: run.status().lines > 5)
        raise KeyError
    assert account(tmp_path) == (list(range(run.summary.lines)), [])


def test_a_failure_that_nobody_waited_for_is_raised_when_the_block_is_left(tmp_path):
    with (
        pytest.raises(CameraLost, match="was unplugged") as caught,
        record(SharedSimulatedCamera, tmp_path, script={19: "unplug"}, **KEYWORDS) as run,
    ):
        wait_for(lambda: not run.is_running)
    assert run.summary.lines == 19
    assert account(tmp_path) == (list(range(19)), [])
    assert cubes_in(tmp_path)[-1].attributes["ended_by"].startswith("CameraLost: ")
    assert not isinstance(caught.value, RecordingError)


class Leaves(SharedSimulatedCamera):
    """Ends the program, as a vendor's package may that was made for programs of its own."""

    def take_line(self):
        if self.n_collected == 3:
            raise KeyboardInterrupt if self.settings["exposure_ms"] == 7 else SystemExit(3)
        return super().take_line()


class CannotStop(SharedSimulatedCamera):
    """The same at its end."""

    def stop_cam(self):
        raise KeyboardInterrupt


class NeverOpens(SharedSimulatedCamera):
    """The same when it is made."""

    def __init__(self, **keywords):
        del keywords
        raise SystemExit("no licence")


@pytest.mark.parametrize(("exposure_ms", "words"), [(7, "KeyboardInterrupt"), (8, "SystemExit: 3")])
def test_a_camera_that_ends_the_program_ends_its_recording_only_which_saves_its_lines(tmp_path, exposure_ms, words):
    keywords = {**KEYWORDS, "exposure_ms": exposure_ms, "analyse": (live_pairs.Ids, live_pairs.Published)}
    with (
        pytest.raises(RecordingError, match=f"the recording was ended by {words}"),
        record(Leaves, tmp_path / "out", **keywords) as run,
    ):
        run.wait()
    assert run.summary.lines == 3
    assert account(tmp_path / "out") == ([0, 1, 2], [])
    assert cubes_in(tmp_path / "out")[0].attributes["ended_by"].startswith(words)
    assert run.analysis.published["ids"].tolist() == [0, 1, 2]


def test_a_camera_that_ends_the_program_when_it_is_made_or_stopped_is_told(tmp_path, caplog):
    with pytest.raises(RecordingError, match="ended by SystemExit: no licence"):
        record(NeverOpens, tmp_path, **KEYWORDS)
    with record(CannotStop, tmp_path / "out", n_cubes=2, **KEYWORDS) as run:
        assert run.wait().lines == 16
    assert "stop_cam has failed: KeyboardInterrupt" in caplog.text


def test_lost_frames_are_told_by_summary_status_files_and_log_and_a_source_that_ends_ends_it(tmp_path, caplog):
    script = {5: "gap", 6: "gap", 20: "incomplete"}
    with record(SharedSimulatedCamera, tmp_path, n_frames=35, script=script, **KEYWORDS) as run:
        summary = run.wait()
    assert (summary.lines, summary.lines_lost, summary.lost_ids) == (32, 3, ((5, 6), (20, 20)))
    assert run.status().lines_lost == 3
    assert account(tmp_path)[1] == [5, 6, 20]
    assert "2 lines lost so far: the camera skipped frames before frame 7" in caplog.text
    assert "3 lines lost so far" in caplog.text or "3 lines were lost in all: frames 5-6 20" in caplog.text


def test_the_stop_policy_ends_a_recording_whose_disk_is_too_slow(tmp_path, monkeypatch):
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("OPENHSI_SHARED_FAULT", "created:28")  # every file fails: the disk is full
    monkeypatch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(tmp_path / "marks"))
    with (
        pytest.raises(NoFreeSlot, match="use more slots"),
        record(SharedSimulatedCamera, tmp_path / "out", rate=2000, **{**KEYWORDS, "when_full": "stop"}) as run,
    ):
        run.wait()
    assert len(run.summary.errors) == 3
    assert "No space left" in run.summary.errors[0]


def test_a_disk_that_fails_in_the_middle_is_told_and_counted(tmp_path, monkeypatch):
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "run"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("OPENHSI_SHARED_FAULT", "written:5:2")
    monkeypatch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(tmp_path / "marks"))
    with (
        pytest.raises(SaveError, match="Input/output error: cube 1 was not saved") as caught,
        record(SharedSimulatedCamera, tmp_path / "out", n_cubes=10, **KEYWORDS) as run,
    ):
        run.wait()
    assert caught.value.errno == 5
    assert (len(run.summary.errors), run.summary.lines_lost) == (2, 0)
    assert "retry(directory)" not in str(caught.value), "nobody here has the handle"
    rescued = cubes_in(tmp_path / "run")
    assert sorted(i for saved in [*cubes_in(tmp_path / "out"), *rescued] for i in saved.ids) == list(range(80))


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"n_line": 5}, UnknownKeyword, "did you mean n_lines"),
        ({"n_cubes": 0}, ArgumentError, "n_cubes must be a whole number > 0, or None for no limit, got 0"),
        ({"until": 7}, ArgumentError, "until must be a callable"),
        ({"toggle": 7}, ArgumentError, "toggle must have a `status`"),
        ({"json_path": "missing.json"}, SettingsError, "missing.json cannot be read"),
        ({"preconfig_meta_path": "missing.json"}, SettingsError, "missing.json cannot be read"),
        ({"rate": -1}, ArgumentError, "rate must be > 0"),
        ({"prefix": "a/b"}, ArgumentError, "cannot be part of a file's name"),
    ],
)
def test_a_bad_argument_is_raised_at_once(tmp_path, keywords, error, words):
    with pytest.raises(error, match=words):
        record(SharedSimulatedCamera, tmp_path / "out", **{**KEYWORDS, **keywords})
    assert not cubes_in(tmp_path)


@pytest.mark.parametrize("save_dir", ["", None, 5])
def test_what_is_no_directory_is_refused(save_dir):
    with pytest.raises(ArgumentError, match="save_dir must be a directory, got"):
        record(SharedSimulatedCamera, save_dir, **KEYWORDS)


@pytest.mark.parametrize("thing", ["simulated", None])
def test_what_cannot_be_called_is_no_camera(tmp_path, thing):
    with pytest.raises(ArgumentError, match=r"record\(\) needs a camera class such as SharedSimulatedCamera, got"):
        record(thing, tmp_path, **KEYWORDS)


@pytest.mark.parametrize("thing", some(dict, all_of=(dict, print)))
def test_what_is_no_camera_is_refused(tmp_path, thing):
    with pytest.raises((OpenHSIError, TypeError)):
        record(thing, tmp_path, **KEYWORDS)


def test_a_directory_that_cannot_be_made_is_refused_before_the_first_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="Not a directory: no recording can be saved there") as caught:
        record(SharedSimulatedCamera, tmp_path / "file" / "inside", **KEYWORDS)
    assert caught.value.errno == 20


class Typed(SharedOpenHSI):
    """A camera that lives in this module."""

    def __init__(self, first=0, **keywords):
        super().__init__(resolution=SHAPE, **keywords)
        self.n = first

    def start_cam(self): ...

    def stop_cam(self): ...

    def get_img(self):
        self.n += 1
        time.sleep(0.001)
        return frame(self.n - 1)


def test_a_user_camera_of_a_module_is_recorded(tmp_path):
    with record(Typed, tmp_path, n_lines=8, n_cubes=3, first=100, progress=False) as run:
        run.wait()
    assert [number for saved in cubes_in(tmp_path) for number in saved.numbers] == list(range(100, 124))


def test_two_recordings_at_once_into_one_directory(tmp_path):
    keywords = {**KEYWORDS, "n_cubes": 6, "rate": 500}
    with (
        record(SharedSimulatedCamera, tmp_path, **keywords) as one,
        record(SharedSimulatedCamera, tmp_path, **keywords) as other,
    ):
        paths = {*one.wait().paths, *other.wait().paths}
    assert len(paths) == 12
    runs: dict[str, list[int]] = {}
    for saved in cubes_in(tmp_path):
        runs.setdefault(saved.attributes["run_id"], []).extend(saved.numbers)
    assert list(runs.values()) == [list(range(48))] * 2


# ---- threads that fail ----


def test_without_a_thread_to_hear_it_a_recording_ends(tmp_path, monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("openhsi_shared.recording.run.GuardedThread.start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        record(SharedSimulatedCamera, tmp_path, rate=500, **KEYWORDS)
    wait_for(lambda: not writers_of())


@pytest.mark.usefixtures("broken_handler")
def test_a_logging_handler_that_raises_does_not_end_the_thread_that_hears_it(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, n_cubes=4, script={5: "gap"}, **KEYWORDS) as run:
        assert run.wait(60).lines_lost == 1
    assert account(tmp_path)[1] == [5]
