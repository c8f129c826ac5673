"""Published and answered are two things: a cube that is in a file is saved, whoever did not hear of it.

Each case: the writer published the cube, or left something of it, and its answer did not arrive.
"""

import json
import multiprocessing
import os
import threading
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from openhsi_shared import SharedSimulatedCamera, open_cube, recover, verify
from openhsi_shared.cli import main
from openhsi_shared.errors import SaveError, WriterFailed
from tests.support.faulty_calls import FaultyCalls
from tests.support.flow import CAMERA, COUNTING, account, cubes_in, parts_in, processes_in, run
from tests.support.helpers import wait_for
from tests.support.products import each_value_once, some

FAULTS = {
    "the writer dies after the name is given": "published:kill:1",
    "the writer dies before its answer": "before_answer:kill:1",
    "the writer dies before the name is given": "fsynced:kill:1",
    "the writer dies half-way": "half:kill:1",
}

DIFFERENT = list(FAULTS)[1:]
"""Before its answer, the file has its name as well."""


@pytest.fixture
def fault(monkeypatch, tmp_path):
    """Let the writers of this test fail."""

    def inject(words: str) -> None:
        (tmp_path / "marks").mkdir()
        monkeypatch.setenv("OPENHSI_SHARED_FAULT", words)
        monkeypatch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(tmp_path / "marks"))

    return inject


def _camera(**keywords):
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, "n_buffers": 4, **keywords})


@contextmanager
def _no_writer_starts():
    usual = multiprocessing.spawn.get_executable()
    multiprocessing.set_executable("/bin/false")
    try:
        yield
    finally:
        multiprocessing.set_executable(usual)


def _hold(cam, directory):
    """Save a cube whose writer dies, without a successor: the cube is held."""
    cam.collect()
    with _no_writer_starts():
        handle = cam.save(directory)
        handle.join(60)
    with pytest.raises(SaveError, match="no writer starts"):
        handle.result()
    return handle


@pytest.mark.skipif(not hasattr(os, "fork"), reason="/bin/false is a program of Unix")
@pytest.mark.parametrize(
    ("point", "answer"), each_value_once(["published", "before_answer", "fsynced"], ["discard", "retry"])
)
def test_a_held_cube_that_is_on_the_disk_is_saved_there(fault, tmp_path, point, answer):
    fault(f"{point}:kill:1")
    with _camera() as cam:
        handle = _hold(cam, tmp_path / "out")
        handle.discard() if answer == "discard" else handle.retry(tmp_path / "other")
        result = handle.result(60)
        assert result.path.is_relative_to(tmp_path / "out")
        assert result.preview_path.exists()
        assert result.lines_lost == 0
        cam.collect()
        cam.save(tmp_path / "out").result(60)
        status = cam.status()
        assert (status.lines_lost, status.lost_ids, status.slots["HELD"]) == (0, (), 0)
    assert account(tmp_path) == (list(range(16)), [])
    assert not parts_in(tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="/bin/false is a program of Unix")
def test_a_held_cube_of_which_half_was_written_is_lost_when_it_is_discarded_and_its_space_is_free(fault, tmp_path):
    fault("half:kill:1")
    with _camera() as cam:
        handle = _hold(cam, tmp_path / "out")
        assert parts_in(tmp_path / "out")
        handle.discard()
        assert cam.status().lost_ids == ((0, 7),)
        cam.collect()
        cam.save(tmp_path / "out").result(60)
    assert account(tmp_path) == (list(range(8, 16)), list(range(8)))
    assert not parts_in(tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="/bin/false is a program of Unix")
def test_a_cube_for_which_no_writer_can_look_is_not_discarded(fault, tmp_path):
    fault("published:kill:1")
    with _camera() as cam:
        handle = _hold(cam, tmp_path / "out")
        with _no_writer_starts(), pytest.raises(WriterFailed, match="cube 1 is not discarded: no writer could look"):
            handle.discard()
        assert cam.status().slots["HELD"] == 1
        assert handle.exitcode == 1
        handle.discard()
        assert handle.exitcode == 0
    assert account(tmp_path / "out") == (list(range(8)), [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="/bin/false is a program of Unix")
def test_a_cube_is_found_where_a_retry_went_before(fault, tmp_path):
    """The answer of a retry got lost, too; the third directory is given."""
    (tmp_path / "file").touch()
    fault("before_answer:kill:1")
    with _camera() as cam:
        cam.collect()
        handle = cam.save(tmp_path / "file" / "inside")
        handle.join(60)
        with _no_writer_starts():
            handle.retry(tmp_path / "second").join(60)
        assert handle.exitcode == 1
        assert handle.retry(tmp_path / "third").result(60).path.is_relative_to(tmp_path / "second")
    assert account(tmp_path) == (list(range(8)), [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="/bin/false is a program of Unix")
@pytest.mark.parametrize("rescued_by", ["a new writer", "the program"])
def test_the_rescue_at_the_end_looks_first_and_in_the_fallback_directory_too(tmp_path, rescued_by):
    (tmp_path / "marks").mkdir()
    (tmp_path / "spare").mkdir()
    (tmp_path / "file").touch()
    code = f"""{CAMERA}
import json
import multiprocessing
cam = camera(n_buffers=4, fallback_dirs=["spare"])
cam.collect()
usual = multiprocessing.spawn.get_executable()
multiprocessing.set_executable("/bin/false")
cam.save("file/inside").join()
{"multiprocessing.set_executable(usual)" if rescued_by == "a new writer" else ""}
"""
    fault = {
        "OPENHSI_SHARED_FAULT": "before_answer:kill:1",
        "OPENHSI_SHARED_FAULT_MARKS": str(tmp_path / "marks"),
    }
    run(code, tmp_path, **fault)
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path) == (list(range(8)), [])
    assert len(cubes_in(tmp_path / "spare")) == 1
    assert not list(tmp_path.rglob("*.raw*"))


@pytest.mark.parametrize("what", some(*DIFFERENT, all_of=FAULTS))
def test_a_successor_needs_no_room_for_a_second_copy(fault, tmp_path, monkeypatch, what):
    """A disk with room for one copy: what the dead writer left is published or removed before anything is written."""
    calls = FaultyCalls(tmp_path, "/out/")
    for name, value in calls.environment.items():
        monkeypatch.setenv(name, value)
    fault(FAULTS[what])
    with _camera(resolution=(64, 512)) as cam:
        cam.collect()
        calls.inject(0, "allocate write truncate unlink rename renameat2")
        path = cam.save(tmp_path / "out", savefig=False).result(60).path
        calls.stop()
    if what == "the writer dies half-way":
        n = calls.calls.index("unlink")
        assert calls.calls[n - 1] == "truncate", "the space is released"
        assert calls.calls[:n].count("allocate") == 1, "before the next copy is begun"
    else:
        assert calls.calls.count("allocate") == 1, "nothing was written twice"
    assert verify(path).ok
    assert account(tmp_path / "out") == (list(range(8)), [])
    assert not parts_in(tmp_path / "out")


def test_a_cube_that_went_to_the_fallback_directory_is_not_saved_again_when_there_is_room(fault, tmp_path, monkeypatch):
    calls = FaultyCalls(tmp_path, "/out/")
    for name, value in calls.environment.items():
        monkeypatch.setenv(name, value)
    fault("before_answer:kill:1")
    (tmp_path / "spare").mkdir()
    with _camera(fallback_dirs=[tmp_path / "spare"]) as cam:
        cam.collect()
        calls.inject(28, "allocate open", first=1, last=1)
        assert cam.save(tmp_path / "out").result(60).path.is_relative_to(tmp_path / "spare")
    assert account(tmp_path) == (list(range(8)), [])


@pytest.mark.parametrize("n_failures", [1, 99])
def test_a_folder_whose_sync_fails_is_synced_again_and_nothing_is_saved_twice(
    tmp_path, monkeypatch, n_failures, caplog
):
    calls = FaultyCalls(tmp_path, "/out/")
    for name, value in calls.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "spare").mkdir()
    with _camera(fallback_dirs=[tmp_path / "spare"]) as cam:
        cam.collect()
        cam.save(tmp_path / "out").result(60)
        cam.collect()
        calls.inject(5, "sync", first=2, last=1 + n_failures)  # 1: the file, 2: its folder
        path = cam.save(tmp_path / "out", savefig=False).result(60).path
        calls.stop()
        assert (calls.calls.count("sync"), cam.status().lines_lost) == (3 if n_failures == 1 else 4, 0)
    assert path.is_relative_to(tmp_path / "out")
    assert ("is saved, but not synced" in caplog.text) is (n_failures > 1)
    assert account(tmp_path) == (list(range(16)), [])


def test_a_dump_goes_when_a_retry_has_saved_its_cube(fault, tmp_path):
    fault("half:kill:5")
    with _camera() as cam:
        cam.collect()
        handle = cam.save(tmp_path / "out")
        with pytest.raises(SaveError, match="its lines are safe in"):
            handle.result(60)
        assert handle.retry(tmp_path / "other").result(60).path.is_relative_to(tmp_path / "other")
    assert str(recover(tmp_path / "out")) == "nothing was left behind"
    assert account(tmp_path) == (list(range(8)), [])


def test_a_held_cube_declares_what_it_had_to_after_many_more_were_discarded(tmp_path):
    """More cubes than a fixed list holds are discarded while one is held."""
    (tmp_path / "file").touch()
    with _camera(n_lines=1, n_buffers=3) as cam:

        def failed():
            cam.collect()
            handle = cam.save(tmp_path / "file" / "inside", savefig=False)
            handle.join(60)
            return handle

        failed().discard()
        held = failed()
        for _ in range(40):
            failed().discard()
        cam.collect()
        cam.save(tmp_path / "out").result(60)
        held.retry(tmp_path / "out").result(60)
    assert [(cube.numbers, cube.lost_ids) for cube in cubes_in(tmp_path / "out")] == [
        ([1], [0]),
        ([42], list(range(2, 42))),
    ]


def test_a_cube_that_may_be_in_a_directory_that_does_not_respond_is_not_discarded(fault, tmp_path):
    """Its writer hung after it had published the cube; nobody can look there, and the other directory takes nothing."""
    (tmp_path / "file").touch()
    fault("published:stop:1")
    with _camera(writer_patience_s=1.5, fallback_dirs=[tmp_path / "file" / "inside"]) as cam:
        cam.collect()
        handle = cam.save(tmp_path / "out")
        handle.join(60)
        with pytest.raises(SaveError):
            handle.result()
        with pytest.raises(WriterFailed, match="does not respond, and it may be there"):
            handle.discard()
        assert cam.status().lines_lost == 0
        cam._engine.writer._writers.avoided.release(str(tmp_path / "out"))
        handle.discard()
        assert handle.result().path.is_relative_to(tmp_path / "out")
    assert account(tmp_path / "out") == (list(range(8)), [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="/bin/false is a program of Unix")
def test_a_retry_that_waits_while_the_cube_resumes_by_itself_has_no_effect(tmp_path, monkeypatch):
    with _camera() as cam:
        cam.collect()
        with _no_writer_starts():
            os.kill(cam._engine.writer._writers.all[0].child.pid, 9)
            handle = cam.save(tmp_path / "out")
            handle.join(60)
            assert handle.exitcode == 1
        supervisor, begun, retried = handle._supervisor, threading.Event(), threading.Event()
        usual = supervisor.retry
        monkeypatch.setattr(supervisor, "retry", lambda *arguments: (begun.set(), usual(*arguments)))
        with supervisor.changed:
            thread = threading.Thread(target=lambda: (handle.retry(tmp_path / "other"), retried.set()))
            thread.start()
            assert begun.wait(60)  # it has seen the failure, and waits for the lock
            cam._engine.writer._writers.starts.__init__()
            cam._engine.writer._replacing.resume()
        thread.join()
        assert retried.is_set()
        assert handle.result(60).path.is_relative_to(tmp_path)
    assert account(tmp_path) == (list(range(8)), [])


def test_a_retry_after_the_rescue_at_the_end_of_the_program_does_not_wait_for_ever(tmp_path):
    (tmp_path / "file").touch()
    code = f"""
import atexit
def retry():
    try: handle.retry("out").result()
    except Exception as error: print(type(error).__name__, error)
atexit.register(retry)
{CAMERA}
cam = camera()
cam.collect()
handle = cam.save("file/inside")
handle.join()
"""
    _, output, _ = run(code, tmp_path)
    assert "ClosedError the writer has ended: cube 1 was rescued" in output
    assert account(tmp_path) == (list(range(8)), [])


def test_a_cube_that_may_be_in_a_directory_that_does_not_respond_says_so_and_both_files_are_named(
    fault, tmp_path, caplog
):
    """The writer hangs after publishing; the cube is saved in the fallback directory as well."""
    fault("published:stop:1")
    first, second = tmp_path / "first", tmp_path / "second"
    with _camera(writer_patience_s=1.0, fallback_dirs=[second]) as cam:
        cam.collect()
        path = cam.save(first).result(60).path
        cam.collect()
        later = cam.save(first).result(60).path
    assert path.is_relative_to(second)
    assert f"{path}: an earlier try may have saved this cube in {first}, too" in caplog.text
    with open_cube(path) as cube, open_cube(later) as other:
        assert json.loads(cube.attributes["unchecked_directories"]) == [str(first)]
        assert "unchecked_directories" not in other.attributes
    (second / "link.nc").symlink_to(later)
    both = f"is in 2 files: {cubes_in(first)[0].path}, {path}\n"
    for command in ("verify", "info", "recover"):
        done = CliRunner().invoke(main, [command, str(first), str(second)])
        assert (done.exit_code, done.output.count("the same cube")) == (0, 1)
        assert both in done.output
