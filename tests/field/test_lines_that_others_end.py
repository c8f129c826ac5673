"""A cube is closed, or a camera stopped, while a line is in progress: by that line itself, or by another thread."""

import threading
from pathlib import Path

import pytest

from openhsi_shared import SharedOpenHSI
from openhsi_shared.errors import ClosedError, SaveError
from tests.support.flow import SMALL, cubes_in, frame, run
from tests.support.helpers import wait_for
from tests.support.products import some


class Camera(SharedOpenHSI):
    """Calls `act` within the line of frame `at`."""

    n, at, act = 0, -1, None

    def start_cam(self): ...
    def stop_cam(self): ...

    def get_img(self):
        number, self.n = self.n, self.n + 1
        if number == self.at:
            self.act()
        return frame(number)


@pytest.mark.parametrize("saves", [True, False])
def test_a_close_that_fails_within_a_line_makes_no_line_of_what_a_slot_held_before(tmp_path, saves):
    code = (
        f"from tests.field.{__name__.rpartition('.')[2]} import close_within_a_line as f; f({str(tmp_path)!r}, {saves})"
    )
    # not in this process: the error that is raised refers to the slots, which would look like a leak
    found, _, errors = run(code, tmp_path)
    assert found == 0, errors


def close_within_a_line(directory, saves):
    """A camera closes itself within a line, while a cube is held, and goes on."""
    tmp_path = Path(directory)
    (tmp_path / "file").touch()
    cam = Camera(n_lines=8, n_buffers=4, **SMALL)

    def act():
        if saves:
            cam.save(tmp_path / "out")
        with pytest.raises(SaveError):
            cam.close()

    cam.at, cam.act = 11, act
    cam.collect()
    held = cam.save(tmp_path / "file" / "inside")
    held.join()
    for _ in range(3):
        cam.take_line()
    with pytest.raises(ClosedError, match="its frame is lost"):
        cam.take_line()
    for _ in range(4):
        cam.take_line()
    held.retry(tmp_path / "out")
    cam.save(tmp_path / "out").result()
    cam.close()
    cubes = cubes_in(tmp_path / "out")
    assert all(cube.numbers == cube.ids for cube in cubes)
    saved = [number for cube in cubes for number in cube.ids]
    assert saved == [*range(8), *(range(8, 11) if saves else ()), *range(12, 16)]
    assert 11 in cubes[-1].lost_ids
    cam.act = None


@pytest.mark.parametrize("how", ["close", "reinitialise"])
def test_a_save_that_was_accepted_within_a_line_is_saved_though_another_thread_closes(tmp_path, how):
    cam = Camera(n_lines=8, n_buffers=4, **SMALL)
    handles, saved = [], threading.Event()
    turn = cam._engine.turn

    def act():
        handles.append(cam.save(tmp_path / "out"))
        saved.set()
        wait_for(lambda: turn._only is not None)  # the other thread closes, and waits for this line

    def close():
        saved.wait()
        getattr(cam, how)()

    cam.at, cam.act = 5, act
    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(ClosedError):
        cam.collect()
    thread.join()
    assert handles[0].result(60).n_lines in (5, 6)
    assert [cube.numbers for cube in cubes_in(tmp_path)] == [list(range(handles[0].n_lines))]
    cam.close()
    cam.act = None


HANGS = """
import threading, time
from openhsi_shared import SharedOpenHSI, open_cube
from tests.support.flow import SMALL, frame
class Camera(SharedOpenHSI):
    n = 0
    def start_cam(self): ...
    def stop_cam(self): ...
    def get_img(self):
        self.n += 1
        if self.n == 14:
            hangs.set()
            time.sleep(1000)
        return frame(self.n - 1)
hangs = threading.Event()
cam = Camera(n_lines=8, n_buffers=4, exposure_ms=1, **SMALL)
def flight():
    cam.collect()
    cam.save("out")
    cam.collect()
threading.Thread(target=flight, daemon=True).start()
"""


ENDS = ["hangs.wait(); cam.close()", "hangs.wait()", "with cam: hangs.wait()", "with cam: hangs.wait(); 1 / 0"]


@pytest.mark.parametrize("end", some("hangs.wait()", "with cam: hangs.wait(); 1 / 0", all_of=ENDS))
def test_a_program_ends_beside_a_get_img_that_never_returns(tmp_path, end):
    code, _, errors = run(HANGS + end, tmp_path)
    assert code == (1 if "1 / 0" in end else 0), errors
    saved = [number for cube in cubes_in(tmp_path / "out") for number in cube.numbers]
    assert saved == list(range(13 if "with" in end else 8))
