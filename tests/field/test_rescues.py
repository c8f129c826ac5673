"""What a rescue could not save is reported everywhere, and the directory of the last resort is this user's own."""

import os
import stat
from pathlib import Path

import pytest

from openhsi_shared.files.recovering import recover
from openhsi_shared.save_options import SaveOptions
from openhsi_shared.writer import rescue_directory
from openhsi_shared.writer.messages import CubeKind, Label
from openhsi_shared.writer.rescue_directory import directory_for_unsaved, rescue_directories
from tests.support.flow import CAMERA, account, cubes_in, processes_in, run
from tests.support.helpers import wait_for

NO_LAST_RESORT = """
import os
os.mkdir("temporary/openhsi_shared")
open("temporary/openhsi_shared/rescued", "w").close()
open(f"temporary/openhsi_shared-rescued-{os.getuid()}", "w").close()
"""
"""As on a machine whose only disk is full: no directory takes a cube."""
NOWHERE = f"{NO_LAST_RESORT}open('out', 'w').close()\n"

# ---- rescues that save nothing ----


def test_a_cube_that_no_directory_takes_at_the_end_sets_the_exit_status_and_is_in_the_log(tmp_path):
    """The disk of a field computer, with its temporary files, is full: the program has ended with status 0."""
    code = f"""{CAMERA}{NOWHERE}
with camera() as cam:
    cam.collect()
    try:
        cam.save("out").result()
    except OSError as error:
        print("handled", error)
"""
    status, output, errors = run(code, tmp_path)
    assert (status, output.startswith("handled")) == (1, True)
    assert "cube 1 could not be rescued by its writer" in errors
    assert "the lines of cube 1 are lost" in errors


def test_a_program_that_ends_says_where_a_rescued_cube_is(tmp_path):
    code = f"{CAMERA}open('out', 'w').close()\nwith camera() as cam:\n    cam.collect()\n    cam.save('out').join()\n"
    status, _, errors = run(code + "    cam._engine.writer.unhandled_failures()\n", tmp_path)
    assert status == 0
    assert f"cube 1: saved as {tmp_path}/temporary/openhsi_shared/rescued/" in errors
    assert account(tmp_path / "temporary") == (list(range(8)), [])


def test_a_writer_without_a_program_says_which_lines_are_lost(tmp_path):
    code = f"""{CAMERA}{NOWHERE}
import signal
cam = camera()
cam.will_save_to("out")
cam.collect(lambda n, _: n < 5 or os.kill(os.getpid(), signal.SIGKILL))
"""
    _, _, errors = run(code, tmp_path)
    wait_for(lambda: not processes_in(tmp_path))
    assert "the lines of cube 1 are lost" in errors


def test_a_writer_without_a_program_dumps_what_cannot_become_a_file(tmp_path):
    code = f"""{CAMERA}
import os, signal
cam = camera()
cam.will_save_to("out")
cam.collect(lambda n, _: n < 5 or os.kill(os.getpid(), signal.SIGKILL))
"""
    (tmp_path / "marks").mkdir()
    fault = {"OPENHSI_SHARED_FAULT": "fsynced:5", "OPENHSI_SHARED_FAULT_MARKS": str(tmp_path / "marks")}
    run(code, tmp_path, **fault)
    wait_for(lambda: not processes_in(tmp_path))
    assert len(recover(tmp_path / "out").published) == 1
    assert account(tmp_path / "out") == (list(range(5)), [])


RECORDING = f"""{CAMERA}
import os, time
from openhsi_shared import SharedSimulatedCamera, record
class Camera(SharedSimulatedCamera):  # takes 32 lines before the disk is lost, and the others afterwards
    n = 0
    def take_line(self):
        self.n += 1
        while self.n > 32 and not os.path.isfile("out"):
            time.sleep(0.005)
        return super().take_line()
with record(Camera, "out", mode="counting", resolution=(16, 32), row_slice=None, cal_path="", n_lines=8,
            n_buffers=20, n_cubes=12, progress=False, savefig=False) as run:
    while run.status().cubes_saved < 4:
        time.sleep(0.005)
    os.rename("out", "unplugged")
    open("out", "w").close()
    try:
        run.wait()
    except OSError as error:
        print("raised", error.__notes__[-1])
summary = run.summary
n_lost = sum(len(lost) for lost in summary.lost_ids)
print(summary.lines, summary.lines_lost, n_lost, len(summary.errors), len(summary.paths))
print(summary.errors[-1])
"""


def test_the_summary_of_a_recording_counts_lines_that_no_rescue_could_save(tmp_path):
    """A summary said `0 lost` while 60 lines were in no file."""
    status, output, errors = run(NO_LAST_RESORT + RECORDING, tmp_path)
    assert status == 0, errors
    raised, counts, error = output.splitlines()[0], output.splitlines()[-2], output.splitlines()[-1]
    assert "its lines are lost" in raised
    assert error.endswith("cube 12: its lines are lost")
    assert [int(word) for word in counts.split()] == [32, 64, 64, 8, 4]
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "unplugged")[0] == list(range(32))


def test_the_summary_of_a_recording_names_the_files_of_rescued_cubes(tmp_path):
    status, output, errors = run(RECORDING, tmp_path)
    assert status == 0, errors
    lines, lines_lost, _, n_errors, n_paths = map(int, output.splitlines()[-2].split())
    assert (lines, lines_lost, n_errors, n_paths) == (96, 0, 8, 12)
    assert f"cube 12: saved as {tmp_path}/temporary/openhsi_shared/rescued" in output.splitlines()[-1]


# ---- the directory of the last resort ----

KIND = CubeKind(level=-1)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Give (state directory, directory for temporary files)."""
    for name, variable in (("state", "XDG_STATE_HOME"), ("temporary", "TMPDIR")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setattr(rescue_directory.tempfile, "tempdir", None)
    return tmp_path / "state", tmp_path / "temporary"


def _all(label=None, kind=KIND):
    return [name for names in rescue_directories(label or Label(), kind) for name in names]


def test_it_is_in_the_state_directory_and_is_for_this_user_only(places):
    state, _ = places
    found = Path(directory_for_unsaved(KIND))
    assert found == state / "openhsi_shared" / "rescued"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700


def test_a_directory_that_others_may_write_is_closed_to_them(places):
    state, _ = places
    (state / "openhsi_shared" / "rescued").mkdir(parents=True)
    (state / "openhsi_shared" / "rescued").chmod(0o777)
    assert stat.S_IMODE(Path(directory_for_unsaved(KIND)).stat().st_mode) == 0o700


def test_it_comes_after_the_directory_of_the_cube_and_fallback_directories(places, tmp_path):
    state, temporary = places
    kind = CubeKind(level=-1, options=SaveOptions(fallback_dirs=[tmp_path / "b"]))
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert next(rescue_directories(Label(directory=names[0]), kind)) == names
    assert directory_for_unsaved(kind) == names[1]
    assert not list(state.iterdir()), "it is created when it is needed"
    last = [state / "openhsi_shared" / "rescued", temporary / f"openhsi_shared-rescued-{os.getuid()}"]
    assert _all(Label(directory=names[0]), kind) == [*names, *map(str, last)]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to give a directory to another user")
@pytest.mark.parametrize("how", ["directory", "link"])
def test_a_directory_that_another_user_has_put_there_takes_no_cubes(places, how, caplog):
    """The name in /tmp could be guessed."""
    state, temporary = places
    (state / "openhsi_shared").write_text("")  # no state directory
    guessed = temporary / f"openhsi_shared-rescued-{os.getuid()}"
    if how == "directory":
        guessed.mkdir()
        os.chown(guessed, 12345, 12345)
    else:
        (temporary / "own").mkdir()
        guessed.symlink_to(temporary / "own")
        os.lchown(guessed, 12345, 12345)
    assert _all() == []
    assert "it belongs to another user" in caplog.text


def test_without_a_home_directory_it_is_among_temporary_files(places, monkeypatch):
    _, temporary = places
    for variable, value in (("XDG_STATE_HOME", "not/absolute"), ("HOME", "/dev/null")):
        monkeypatch.setenv(variable, value)
    assert _all() == [str(temporary / f"openhsi_shared-rescued-{os.getuid()}")]


NO_FOLDER = """
import os, tempfile
def none(): raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp', '/usr/tmp', '/']")
tempfile.gettempdir = tempfile._get_default_tempdir = none
tempfile.tempdir = None
for name in ("TMPDIR", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
    os.environ.pop(name, None)
os.environ["HOME"] = "/dev/null"
"""


@pytest.mark.parametrize("keywords", ["", "fallback_dirs=['spare']"])
def test_a_camera_is_made_where_there_is_no_folder_for_temporary_files(tmp_path, keywords):
    """A container with a read-only root; a root disk that is full."""
    code = f"{NO_FOLDER}{CAMERA}with camera({keywords}) as cam:\n    cam.collect()\n    cam.save('out')\n"
    status, _, errors = run(code, tmp_path)
    assert (status, errors) == (0, "")
    assert account(tmp_path / "out") == (list(range(8)), [])


def test_lines_of_a_failing_program_go_to_the_fallback_directory_first(tmp_path):
    code = f"{NO_FOLDER}{CAMERA}with camera(fallback_dirs=['spare']) as cam:\n    cam.collect()\n    1 / 0\n"
    status, _, errors = run(code, tmp_path)
    assert (status, "ZeroDivisionError" in errors) == (1, True)
    (saved,) = cubes_in(tmp_path / "spare")
    assert saved.numbers == list(range(8))


def test_lines_of_a_failing_program_that_no_directory_takes_are_reported(tmp_path):
    code = f"{NO_FOLDER}{CAMERA}with camera() as cam:\n    cam.collect()\n    1 / 0\n"
    status, _, errors = run(code, tmp_path)
    assert status == 1
    assert "there is no directory for unsaved lines" in errors
