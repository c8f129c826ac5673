"""The listener thread of the writer fails: no caller waits for ever, each gets the cause, and no line is lost."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import product

import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import SaveError, WriterFailed
from openhsi_shared.processes.child import Child
from openhsi_shared.writer.replacing import WriterReplacement
from openhsi_shared.writer.supervisor import WriterSupervisor
from openhsi_shared.writer.unsaved_cubes import UnsavedCubes
from openhsi_shared.writer.writer_group import WriterGroup
from tests.support.flow import CAMERA, COUNTING, account, cubes_in, processes_in, run
from tests.support.helpers import wait_for
from tests.support.process_faults import camera, frozen, newest_writer, writers_of
from tests.support.products import some

UNHEARD = "the thread that receives the writer's answers has failed"


class Injected(Exception):
    """Raised by this test."""


def inject(patch: pytest.MonkeyPatch, owner: type, name: str) -> Callable[[], None]:
    """Make a method raise in the listener thread of the writer, after the returned function was called."""
    usual, is_on = getattr(owner, name), threading.Event()

    def fail_there(*arguments, **keywords):
        if is_on.is_set() and threading.current_thread().name == "openhsi_shared writer's answers":
            raise Injected(name)
        return usual(*arguments, **keywords)

    patch.setattr(owner, name, fail_there)
    return is_on.set


PLACES = [
    (WriterSupervisor, "_receive_all"),
    (WriterSupervisor, "_handle_answer"),
    (WriterReplacement, "check_progress"),
    (WriterGroup, "waitables"),
    (UnsavedCubes, "saved"),
    (UnsavedCubes, "_free"),
    (SlotOwner, "free"),
    (Child, "receive"),
]
DIFFERENT = [
    ((WriterReplacement, "check_progress"), 2),
    ((UnsavedCubes, "saved"), 1),
    ((UnsavedCubes, "_free"), 2),
    ((Child, "receive"), 1),
]
"""Without an answer, before an answer counts, behind the file, and instead of an answer."""


@pytest.mark.parametrize(("place", "writers"), some(*DIFFERENT, all_of=product(PLACES, [1, 2])))
def test_pending_cubes_fail_with_the_cause_and_every_line_is_in_a_file(monkeypatch, tmp_path, place, writers):
    begin = inject(monkeypatch, *place)
    cam = camera(n_buffers=4, writers=writers)
    cam.collect()
    cam.save(tmp_path).result(60)
    cam.collect()
    with ExitStack() as stack:
        for writer in writers_of():
            stack.enter_context(frozen(writer))  # else the cube might be saved, or its save refused, before it begins
        pending = cam.save(tmp_path)
        begin()
    pending.join(60)
    cam.collect()
    with suppress(WriterFailed):
        pending.result(60)  # where the failure came behind the file, it is told to the next one
    wait_for(lambda: cam._engine.writer.has_failed)
    with pytest.raises(WriterFailed, match=UNHEARD) as caught:
        cam.save(tmp_path)
    assert isinstance(caught.value.__cause__, Injected)
    assert not pending.is_alive()
    with pytest.raises(WriterFailed, match=UNHEARD):
        cam.collect()  # would overwrite what was not saved
    cam.close()
    cam.close()
    assert account(tmp_path) == (list(range(24)), [])
    assert len(cubes_in(tmp_path)) == 3
    assert cubes_in(tmp_path)[2].attributes["recovered"] == 1


def test_a_pending_handle_says_what_is_known_of_its_cube(monkeypatch, tmp_path):
    begin = inject(monkeypatch, WriterSupervisor, "_handle_answer")
    with camera(n_buffers=4) as cam:
        cam.collect()
        cam.save(tmp_path).result(60)
        begin()
        cam.collect()
        handle = cam.save(tmp_path)
        with pytest.raises(WriterFailed, match=f"{UNHEARD}: whether cube 2 was saved is not known") as caught:
            handle.result(60)
        assert (handle.exitcode, type(caught.value.__cause__)) == (1, Injected)
        for call in (handle.discard, lambda: handle.retry(tmp_path)):
            with pytest.raises(WriterFailed, match=UNHEARD):
                call()
        assert cam.status().slots["HELD"] == 1
    assert account(tmp_path) == (list(range(16)), [])


@pytest.mark.parametrize("is_pending", [True, False])
def test_a_failure_that_nobody_was_told_is_raised_when_the_camera_is_closed(monkeypatch, tmp_path, is_pending):
    place = (WriterSupervisor, "_handle_answer") if is_pending else (WriterReplacement, "check_progress")
    begin = inject(monkeypatch, *place)
    cam = camera()
    cam.collect()
    cam.save(tmp_path).result(60)
    begin()
    cam.collect()
    if is_pending:
        cam.save(tmp_path)
    wait_for(lambda: cam._engine.writer.has_failed)
    with pytest.raises(WriterFailed, match=UNHEARD):
        cam.close()
    cam.close()
    assert account(tmp_path) == (list(range(16)), [])


def test_a_thread_that_waits_for_a_slot_gets_the_error(monkeypatch, tmp_path):
    begin = inject(monkeypatch, WriterReplacement, "check_progress")
    caught = []

    def collect() -> None:
        try:
            cam.collect()
        except WriterFailed as error:
            caught.append(error)

    with camera() as cam:
        cam.collect()
        with frozen(newest_writer()):
            handles = [cam.save(tmp_path)]
            cam.collect()
            handles.append(cam.save(tmp_path))
            thread = threading.Thread(target=collect)
            thread.start()
            begin()
            thread.join(60)
            assert not thread.is_alive()
        assert isinstance(caught[0].__cause__, Injected)
        for handle in handles:
            with pytest.raises(WriterFailed):
                handle.result(0)
    assert account(tmp_path) == (list(range(16)), [])


def test_a_save_that_comes_at_the_same_time_fails_by_its_handle(monkeypatch, tmp_path):
    begin = inject(monkeypatch, WriterReplacement, "check_progress")
    cam = camera()
    cam.collect()
    begin()
    wait_for(lambda: cam._engine.writer.has_failed)
    monkeypatch.setattr(WriterSupervisor, "raise_failure", lambda _: None)  # as if it had been asked before
    with pytest.raises(WriterFailed, match="whether cube 1 was saved is not known"):
        cam.save(tmp_path).result(60)
    cam.close()
    assert account(tmp_path) == (list(range(8)), [])


def test_without_a_thread_to_hear_it_no_writer_is_kept(monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("openhsi_shared.writer.supervisor.Listener.start", fail)
    with (
        pytest.raises(
            WriterFailed, match="the listener thread of the writer cannot be started: can't start new thread"
        ),
        camera(),
    ):
        pass


def test_a_camera_can_be_made_usable_again(monkeypatch, tmp_path):
    begin = inject(monkeypatch, WriterReplacement, "check_progress")
    with camera() as cam:
        cam.collect()
        begin()
        wait_for(lambda: cam._engine.writer.has_failed)
        with pytest.raises(WriterFailed):
            cam.save(tmp_path)
        monkeypatch.undo()
        cam.reinitialise(n_lines=4)
        cam.collect()
        assert cam.save(tmp_path / "later").result(60).n_lines == 4


INJECTED = (
    CAMERA
    + """
import os
from openhsi_shared.writer.supervisor import WriterSupervisor
def fail(*_):
    raise ZeroDivisionError("injected")
cam = camera(n_buffers=4)
cam.collect()
cam.save("out").result()
WriterSupervisor._handle_answer = fail
cam.collect()
cam.save("out").join()
cam.collect()
"""
)


ENDS = [("", 1), ("cam.save('out')", 1), ("1 / 0", 1), ("os._exit(0)", 0)]


@pytest.mark.parametrize(("end", "code"), some(("cam.save('out')", 1), ("os._exit(0)", 0), all_of=ENDS))
def test_a_program_that_ends_so_leaves_no_process_and_loses_nothing(tmp_path, end, code):
    returned, _, errors = run(f"{INJECTED}\n{end}\n", tmp_path)
    wait_for(lambda: not processes_in(tmp_path))
    assert returned == code
    assert code == 0 or "ZeroDivisionError: injected" in errors
    assert account(tmp_path / "out") == (list(range(24)), [])


IDLE = (
    CAMERA
    + """
from openhsi_shared.writer.replacing import WriterReplacement
def fail(*_):
    raise ZeroDivisionError("injected")
cam = camera()
cam.collect()
cam.save("out").result()
WriterReplacement.check_progress = fail
while not cam._engine.writer.has_failed:
    pass
cam.collect()
"""
)


def test_a_program_that_ends_so_without_a_save_pending_loses_nothing(tmp_path):
    returned, _, errors = run(IDLE, tmp_path)
    assert returned == 1
    assert "ZeroDivisionError: injected" in errors
    assert account(tmp_path / "out") == (list(range(16)), [])


def recorded(**keywords):
    """A camera in whose process the listener thread of the writer fails with the fifth cube."""
    usual = UnsavedCubes.saved

    def saved(self, answer):
        if answer.cube == 5:
            raise Injected("saved")
        usual(self, answer)

    UnsavedCubes.saved = saved
    return SharedSimulatedCamera(**keywords)


def test_a_recording_ends_with_the_cause_and_saves_what_it_has(tmp_path, runtime):
    keywords = {**COUNTING, "n_lines": 8, "n_buffers": 6, "rate": 100, "queue": 9999}  # a slot is free when it fails
    keywords |= {"when_full": "block", "progress": False}
    with pytest.raises(WriterFailed, match=UNHEARD) as caught, record(recorded, tmp_path / "out", **keywords) as run:
        run.wait(60)
    assert any("Injected: saved" in note for note in caught.value.__notes__)
    assert run.summary is not None
    saved, lost = account(tmp_path / "out")
    assert lost == []
    assert len(saved) >= 40


@pytest.mark.usefixtures("broken_handler")
def test_a_logging_handler_that_raises_costs_nothing(tmp_path):
    (tmp_path / "blocked").touch()
    with camera(n_buffers=4) as cam:
        cam.collect()
        held = cam.save(tmp_path / "blocked" / "inside")
        with pytest.raises(SaveError, match="cube 1 was not saved"):
            held.result(60)
        newest_writer().kill()
        cam.collect()
        cam.save(tmp_path / "out").result(60)
        held.retry(tmp_path / "out").result(60)
    assert account(tmp_path / "out") == (list(range(16)), [])
    assert logging.raiseExceptions
