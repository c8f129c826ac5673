"""The program dies while collecting: the writer saves every committed line, and leaves nothing behind."""

import signal
from pathlib import Path

import pytest

from openhsi_shared import open_cube
from tests.support.flow import CAMERA, account, cubes_in, processes_in, run
from tests.support.helpers import wait_for
from tests.support.products import some

DYING = (
    CAMERA
    + """
import os, signal
def die(n, n_lines):
    if n == 5:
        DEATH
with camera(OPTIONS) as cam:
    for _ in range(3):
        cam.collect()
        saving = cam.save("out")
    cam.collect(die)
print("survived")
"""
)

DEATHS = {
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP)", -signal.SIGHUP),
    "SIGSEGV": ("import faulthandler; faulthandler._sigsegv()", -signal.SIGSEGV),
    "os._exit": ("os._exit(7)", 7),
    "abort": ("os.abort()", -signal.SIGABRT),
}


def _shared_files() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(("pym", "sem.mp", "psm"))}


def _die(tmp_path, death: str, keywords: str = "", **environment: str) -> None:
    how, exit_code = DEATHS[death]
    code, output, _ = run(DYING.replace("DEATH", how).replace("OPTIONS", keywords), tmp_path, **environment)
    assert (code, output) == (exit_code, "")
    wait_for(lambda: not processes_in(tmp_path))


@pytest.mark.parametrize("death", some("SIGKILL", "SIGSEGV", all_of=DEATHS))
def test_every_committed_line_is_saved_whatever_the_program_dies_of(tmp_path, death):
    before = _shared_files()
    _die(tmp_path, death)
    assert account(tmp_path / "out") == (list(range(29)), [])
    last = cubes_in(tmp_path / "out")[-1]
    assert (last.numbers, last.attributes["recovered"]) == ([24, 25, 26, 27, 28], 1)
    with open_cube(last.path) as recovered:
        assert (len(recovered.saturated), recovered.dataset.saturated.attrs["full_scale"]) == (5, 4095)
    assert cubes_in(tmp_path / "out")[0].attributes["recovered"] == 0
    assert _shared_files() <= before


@pytest.mark.parametrize("compression", some("deflate", all_of=("deflate", "zstd")))
def test_a_recovered_cube_is_compressed_like_the_others(tmp_path, compression):
    _die(tmp_path, "SIGKILL", f"compression={compression!r}")
    assert account(tmp_path / "out") == (list(range(29)), [])


def test_two_writers_save_a_cube_once(tmp_path):
    _die(tmp_path, "SIGKILL", "writers=2, n_buffers=4")
    assert account(tmp_path / "out") == (list(range(29)), [])


@pytest.mark.parametrize(
    "point", some("half", "published", all_of=("created", "half", "fsynced", "published", "before_answer"))
)
def test_with_two_writers_main_and_writer_may_die_at_once(tmp_path, point):
    (tmp_path / "marks").mkdir()
    how = "saving.join(0); os.kill(os.getpid(), signal.SIGKILL)"
    code = DYING.replace("DEATH", how).replace("OPTIONS", "writers=2, n_buffers=8")
    fault = {"OPENHSI_SHARED_FAULT": f"{point}:kill:1", "OPENHSI_SHARED_FAULT_MARKS": str(tmp_path / "marks")}
    assert run(code, tmp_path, **fault)[0] == -signal.SIGKILL
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out") == (list(range(29)), [])


def test_lines_that_went_round_are_saved_in_order(tmp_path):
    code = f"""{CAMERA}
import os
cam = camera()
cam.will_save_to("out", prefix="pass_")
cam.collect()
cam.collect(lambda n, _: n < 5 or os._exit(0))
"""
    run(code, tmp_path)
    wait_for(lambda: not processes_in(tmp_path))
    (saved,) = cubes_in(tmp_path / "out")
    assert saved.numbers == list(range(5, 13))
    assert saved.attributes["lines_overwritten"] == 5
    assert saved.path.name.startswith("pass_")


def test_a_cube_that_nobody_had_named_a_directory_for_goes_to_a_temporary_one(tmp_path):
    run(f"{CAMERA}\nimport os\ncam = camera()\ncam.collect(lambda n, _: n < 5 or os._exit(0))", tmp_path)
    wait_for(lambda: not processes_in(tmp_path))
    (saved,) = cubes_in(tmp_path / "temporary")
    assert saved.numbers == [0, 1, 2, 3, 4]
    assert "rescued" in str(saved.path)


def test_held_cubes_are_tried_again_elsewhere(tmp_path):
    code = f"""{CAMERA}
import os, signal
open("blocked", "w").close()
cam = camera(n_buffers=3)
for _ in range(2):
    cam.collect()
    cam.save("blocked/inside").join()
cam.collect(lambda n, _: n < 3 or os.kill(os.getpid(), signal.SIGKILL))
"""
    assert run(code, tmp_path)[0] == -signal.SIGKILL
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "temporary") == (list(range(19)), [])


@pytest.mark.parametrize("delay_ms", some(0, 30, all_of=(0, 1, 3, 10, 30, 100, 300)))
def test_main_and_its_new_writer_killed_shortly_after_each_other(tmp_path, delay_ms):
    code = f"""{CAMERA}
import os, psutil, signal, time
cam = camera(n_buffers=4)
cam.will_save_to("out")
cam.collect()
cam.save("out")
cam.collect(lambda n, _: n < 5 or None)
(writer,) = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
writer.kill()
while cam.status().writer_restarts == 0:
    time.sleep(0.0001)
time.sleep({delay_ms} / 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run(code, tmp_path)[0] == -signal.SIGKILL
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out") == (list(range(16)), [])
