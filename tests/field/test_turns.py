"""Calls that come in the middle of others: from signal handlers, from `get_img`, from other threads.

Each is as people reported it: an event input that cuts the cube, a timer that takes a dark frame, a thread for the
focus, a window that closes the camera.
"""

import itertools
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

import openhsi_shared
from openhsi_shared import SharedDataCube, SharedOpenHSI, SharedSimulatedCamera
from openhsi_shared.drivers.simulated.counting import check_frame, frame_number
from openhsi_shared.errors import ClosedError, NothingToSave, OverrunError, ReentryError
from tests.support.flow import COUNTING, SHAPE, cubes_in, frame
from tests.support.helpers import wait_for
from tests.support.products import some

PACKAGE = Path(openhsi_shared.__file__).parent
PATH = [str(PACKAGE / name) for name in ("capture", "buffers", "datacube/engine.py", "frames", "writer/supervisor.py")]


class Interrupter:
    """Calls a function at the k-th bytecode of the path of a line, as a signal handler may."""

    def __init__(self, call, k, at_calls_only=False):
        self._call, self._left, self._at_calls_only = call, k, at_calls_only
        self.was_called = False

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _trace(self, code_frame, event, _):
        if not code_frame.f_code.co_filename.startswith(tuple(PATH)):
            return None
        if not self._at_calls_only:
            code_frame.f_trace_opcodes = True
        elif event != "call":
            return None
        if event in ("opcode", "call") and not self.was_called:
            if self._left == 0:
                self.was_called = True
                self._call()
            self._left -= 1
        return self._trace


def at_every_bytecode(call, interrupted, step=1, at_calls_only=False):
    """Call `interrupted(k)` with `call(k)` at each of its bytecodes; returns how often."""
    for k in itertools.count(0, step):
        with Interrupter(lambda k=k: call(k), k, at_calls_only) as interrupter:
            interrupted(k)
        if not interrupter.was_called:
            return k // step
    raise AssertionError


def check(directory, numbers):
    """The files contain these frames, each once and whole, each with its own id if it has one."""
    cubes = cubes_in(directory)
    found = [number for cube in cubes for number in cube.numbers]
    assert sorted(found) == sorted(numbers)
    ids = [number for cube in cubes for number in cube.ids]
    assert ids == list(range(len(ids))), "none is lost, none is doubled"
    return found


def save(cube, directory, handles):
    try:
        handles.append(cube.save(directory, savefig=False))
    except NothingToSave:
        return


def settled(handles):
    for handle in handles:
        handle.join(60)
        assert handle.exitcode == 0


# ---- one thread ----


@pytest.mark.parametrize("step", some(5, all_of=(1, 5)))
def test_save_at_every_bytecode_of_a_put_takes_effect_between_two_lines(tmp_path, step):
    """C9: as from the handler of a signal."""
    handles = []
    with SharedDataCube(n_lines=4, n_buffers=4, resolution=SHAPE) as cube:
        cube.put(frame(0))
        n = at_every_bytecode(lambda _: save(cube, tmp_path, handles), lambda k: cube.put(frame(1 + k)), step)
        save(cube, tmp_path, handles)
        settled(handles)
    assert n > 200 // step
    assert len(handles) > 200 // step
    numbers = [0, *range(1, step * n + 2, step)]
    assert check(tmp_path, numbers) == numbers


@pytest.mark.parametrize("step", some(3, all_of=(1, 3)))
def test_put_at_every_bytecode_of_a_put_is_refused_or_comes_before_or_after(tmp_path, step):
    handles, accepted, refused = [], [], []

    def put(k):
        try:
            cube.put(frame(100_000 + k))
            accepted.append(100_000 + k)
        except ReentryError:
            refused.append(k)

    def put_and_save(k):
        cube.put(frame(k))
        if k // step % 20 == 0:
            save(cube, tmp_path, handles)

    with SharedDataCube(n_lines=64, n_buffers=4, resolution=SHAPE) as cube:
        cube.put(frame(99_999))
        n = at_every_bytecode(put, put_and_save, step)
        save(cube, tmp_path, handles)
        settled(handles)
    assert len(refused) > 200 // step
    assert len(accepted) > 10 // step
    check(tmp_path, [99_999, *range(0, step * n + 1, step), *accepted])


@pytest.mark.parametrize(
    ("call", "step"), some(("save", 53), ("put", 53), all_of=[(call, k) for call in ("save", "put") for k in (5, 53)])
)  # each bytecode would take minutes
def test_save_and_put_at_every_bytecode_of_a_save_lose_and_double_nothing(tmp_path, call, step):
    handles, accepted = [], []

    def put(k):
        try:
            cube.put(frame(100_000 + k))
            accepted.append(100_000 + k)
        except ReentryError:
            return

    def put_and_save(k):
        save(cube, tmp_path, handles)
        cube.put(frame(k))

    with SharedDataCube(n_lines=4, n_buffers=4, resolution=SHAPE) as cube:
        cube.put(frame(99_999))
        calls = {"save": lambda _: save(cube, tmp_path, handles), "put": put}
        n = at_every_bytecode(calls[call], put_and_save, step)
        save(cube, tmp_path, handles)
        settled(handles)
    assert n > 1500 // step
    check(tmp_path, [99_999, *range(0, step * n + 1, step), *accepted])


def test_a_handler_that_raises_at_any_call_of_a_put_leaves_no_line_both_saved_and_lost(tmp_path):
    n_raised = 0

    def fail(_):
        raise ZeroDivisionError

    def put(k):
        nonlocal n_raised
        try:
            cube.put(frame(k))
        except ZeroDivisionError:
            n_raised += 1

    with SharedDataCube(n_lines=200, resolution=SHAPE) as cube:
        cube.put(frame(99_999))
        n = at_every_bytecode(fail, put, at_calls_only=True)
        cube.put(frame(200_000))
        cube.save(tmp_path)
        status = cube.status()
        assert status.lines_lost == sum(map(len, status.lost_ids)) < n
    assert n_raised == n > 10
    (saved,) = cubes_in(tmp_path)
    assert status.lines == len(saved.ids)
    assert status.lines_lost == saved.attributes["lines_lost"] == len(saved.lost_ids)
    assert len(set(saved.numbers)) == len(saved.numbers)
    assert sorted({*saved.ids, *saved.lost_ids}) == sorted([*saved.ids, *saved.lost_ids])
    assert {99_999, 200_000} <= set(saved.numbers)


class WithEvents(SharedOpenHSI):
    """A user's camera that cuts the cube at an event, which it notices while a frame is taken."""

    where = to = None

    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.n, self.handles = 0, []

    def start_cam(self):
        pass

    def stop_cam(self):
        pass

    def get_img(self):
        self.n += 1
        self._event("get_img")
        return np.full((8, 16), self.n, np.uint16)

    def get_temp(self):
        self._event("get_temp")
        return 20.0

    def _event(self, where):
        if where == self.where and self.n % 5 == 4:
            self.handles.append(self.save(self.to, savefig=False))


@pytest.mark.parametrize("where", ["get_img", "get_temp"])
def test_a_save_from_get_img_or_get_temp_takes_effect_after_the_line(tmp_path, where):
    with WithEvents(n_lines=16, n_buffers=4, resolution=(8, 16)) as cam:
        cam.where, cam.to = where, tmp_path
        for _ in range(12):
            if cam._loop is not None:
                cam._loop.source._next_reading = 0.0
            cam.take_line()
        cam.save(tmp_path).join()
        settled(cam.handles)
    assert len(cam.handles) > 1
    for cube in cubes_in(tmp_path):
        assert [int(line[0, 0]) for line in cube.lines] == [number + 1 for number in cube.ids]


def test_a_signal_that_looks_while_a_frame_is_taken_is_refused_in_words_and_the_line_is_whole(tmp_path):
    errors = []

    def look(*_):
        try:
            cam.get_img()
        except ReentryError as error:
            errors.append(str(error))

    with SharedSimulatedCamera(**COUNTING, n_lines=64, rate=200, queue=200) as cam:
        before = signal.signal(signal.SIGALRM, look)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
            while not errors:  # on a busy machine, all frames of a cube may be there before the first signal
                cam.collect(progress=False)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        cam.save(tmp_path)
    assert "call it afterwards, or from another thread" in errors[0]
    (cube,) = cubes_in(tmp_path)
    assert cube.numbers == cube.ids


# ---- two threads ----


def test_a_thread_that_looks_gets_whole_frames_and_takes_none_from_the_thread_that_collects(tmp_path):
    """C10: get_img beside collect."""
    looked, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            image = cam.get_img()
            assert check_frame(image)
            looked.append(frame_number(image))

    with SharedSimulatedCamera(**COUNTING, n_lines=64, n_buffers=4, rate=400, queue=99_999) as cam:
        cam.collect(progress=False)
        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        handles = []
        while len(looked) < 50:
            cam.save(tmp_path, savefig=False)
            cam.collect(progress=False)
        stop.set()
        while looking.is_alive():
            handles.append(cam.save(tmp_path, savefig=False))
            cam.collect(progress=False)
        cam.save(tmp_path, savefig=False)
    cubes = cubes_in(tmp_path)
    numbers = [number for cube in cubes for number in cube.numbers]
    assert numbers == [number for cube in cubes for number in cube.ids] == list(range(len(numbers)))
    assert set(looked) <= set(numbers)


def test_avgnimgs_beside_collect_does_not_stop_the_camera(tmp_path):
    means = []
    with SharedSimulatedCamera(**COUNTING, n_lines=200, rate=1000, queue=99_999) as cam:
        averaging = threading.Thread(target=lambda: means.append(cam.avgNimgs(3)))

        def begin(n, _):
            if n == 50:
                averaging.start()

        cam.collect(begin, progress=False)
        while averaging.is_alive():
            cam.take_line()
        assert cam._is_streaming
        cam.save(tmp_path)
        assert cam.status().lines_lost == 0
    assert means[0].shape == SHAPE


def test_who_looks_after_the_other_thread_has_ended_reads_frames_of_its_own():
    with SharedSimulatedCamera(**COUNTING, n_lines=4, rate=1000) as cam:
        collecting = threading.Thread(target=cam.collect)
        collecting.start()
        collecting.join(60)
        assert check_frame(cam.get_img())
        assert cam.avgNimgs(3).shape == SHAPE


@pytest.mark.parametrize("how", ["close", "reinitialise"])
def test_a_thread_that_collects_while_another_one_closes_is_told_so(tmp_path, how):
    """C11: it gets ClosedError."""
    errors = []
    cam = SharedSimulatedCamera(**COUNTING, n_lines=10_000, rate=500)

    def collect():
        try:
            cam.collect(progress=False)
        except BaseException as error:  # noqa: BLE001 - checked below
            errors.append(error)

    collecting = threading.Thread(target=collect)
    collecting.start()
    wait_for(lambda: cam.n_collected > 5)
    handle = cam.save(tmp_path)
    cam.close() if how == "close" else cam.reinitialise(n_lines=8)
    collecting.join(60)
    assert [type(error) for error in errors] == [ClosedError]
    assert handle.result(60).path
    if how == "reinitialise":
        cam.collect(progress=False)
        cam.save(tmp_path)
        cam.close()
    assert all(cube.numbers == cube.ids for cube in cubes_in(tmp_path))


@pytest.mark.parametrize("how", ["close", "reinitialise"])
def test_what_save_has_accepted_beside_close_is_saved(tmp_path, how):
    accepted = []
    for n in range(3):
        cube = SharedDataCube(n_lines=8, n_buffers=3, resolution=SHAPE)
        for k in range(4):
            cube.put(frame(k))
        begin = threading.Barrier(2)

        def save_it(cube=cube, n=n, begin=begin):
            begin.wait(60)
            try:
                accepted.append(cube.save(tmp_path / str(n), savefig=False))
            except (ClosedError, NothingToSave):
                return

        saving = threading.Thread(target=save_it)
        saving.start()
        begin.wait(60)
        cube.close() if how == "close" else cube.reinitialise(n_lines=4)
        saving.join(60)
        cube.close()
    settled(accepted)
    assert all(handle.result().path for handle in accepted)


def test_close_from_a_handler_within_a_line_ends_that_line_with_an_error_in_words(tmp_path):
    cam = SharedSimulatedCamera(**COUNTING, n_lines=100, rate=200)
    cam.start_streaming()
    cam.take_line()
    handle = cam.save(tmp_path)
    before = signal.signal(signal.SIGALRM, lambda *_: cam.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(ClosedError, match="closed"):
            cam.collect(progress=False)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert handle.result(60).path


# ---- views ----


def test_an_array_that_is_kept_cannot_change_a_file_that_is_being_written(tmp_path):
    with SharedDataCube(n_lines=8, resolution=SHAPE) as cube:
        cube.put(frame(1))
        kept = cube.dc
        data = kept.data
        (writer,) = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        writer.suspend()
        try:
            handle = cube.save(tmp_path)
            for change in (
                lambda: np.subtract(data, 1, out=data, casting="unsafe"),
                lambda: data.__setitem__(0, 0),
                lambda: kept.get().__setitem__(0, 0),
                lambda: kept[:, 0].__setitem__(0, 0),
                lambda: np.frombuffer(kept.shared_data, np.uint8).__setitem__(0, 0),
            ):
                with pytest.raises((ValueError, TypeError), match="read-only"):
                    change()
        finally:
            writer.resume()
        assert handle.result(60).path
        for number in range(2, 4):
            cube.put(frame(number))
            cube.save(tmp_path).join()
        with pytest.raises(OverrunError, match="of cube 1, whose memory is reused"):
            kept.data  # noqa: B018
    assert [cube.numbers for cube in cubes_in(tmp_path)] == [[1], [2], [3]]


def test_an_array_got_before_the_first_line_is_that_of_the_first_cube():
    with SharedDataCube(n_lines=8, resolution=SHAPE) as cube:
        dc = cube.dc
        cube.put(frame(1))
        assert (dc.data[:, 0] == frame(1)).all()
