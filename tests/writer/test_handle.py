"""The handle that `save` returns: like a process, with a result; and what happens to cubes whose save failed."""

import errno
import logging

import pytest

from openhsi_shared import OpenHSIError, SharedSimulatedCamera
from openhsi_shared.errors import ArgumentError, SaveError
from tests.support.flow import COUNTING, account, read


@pytest.fixture
def cam():
    with SharedSimulatedCamera(**COUNTING, n_lines=8, n_buffers=3) as made:
        made.collect()
        yield made


@pytest.fixture
def blocked(tmp_path):
    """A directory that cannot be made, because its parent is a file."""
    (tmp_path / "blocked").touch()
    return tmp_path / "blocked" / "inside"


def test_a_handle_behaves_like_a_process(cam, tmp_path):
    handle = cam.save(tmp_path)
    assert handle.name == "cube 1"
    assert handle.join() is None
    assert handle.join(timeout=0) is None
    assert not handle.is_alive()
    assert handle.exitcode == 0
    assert handle.n_lines == 8


def test_a_result_tells_where_the_cube_is(cam, tmp_path):
    handle = cam.save(str(tmp_path))
    result = handle.result(timeout=60)
    assert result == handle.result()
    assert result.path.parent.parent == tmp_path
    assert result.preview_path.exists()
    assert (result.n_lines, result.lines_lost) == (8, 0)
    assert "saved as" in repr(handle)
    with pytest.raises(AttributeError):
        result.path = None


def test_a_save_that_failed_has_exit_code_1_and_raises_the_true_errno(cam, blocked, caplog):
    handle = cam.save(blocked)
    handle.join(60)
    assert handle.exitcode == 1
    for kind in (OSError, SaveError, OpenHSIError):
        with pytest.raises(kind, match=r"cube 1 was not saved; it is kept in memory: retry\(directory\)") as caught:
            handle.result()
    assert caught.value.errno == errno.ENOTDIR
    assert str(blocked) in str(caught.value.filename)
    assert "Traceback" in "".join(caught.value.__notes__)
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    handle.discard()


def test_a_directory_that_has_vanished_is_an_error_and_not_made_again(cam, tmp_path):
    where = tmp_path / "disk"
    cam.save(where).result(60)
    where.rename(tmp_path / "moved")
    cam.collect()
    handle = cam.save(where)
    with pytest.raises(OSError, match="No such file or directory") as caught:
        handle.result(60)
    assert caught.value.errno == errno.ENOENT
    assert not where.exists()
    handle.retry(tmp_path / "moved").result(60)
    assert account(tmp_path) == (list(range(16)), [])


def test_retry_saves_the_cube_elsewhere_while_collecting_goes_on(cam, tmp_path, blocked):
    first = cam.save(blocked)
    cam.collect()
    second = cam.save(tmp_path / "out")
    first.join(60)
    cam.collect()
    again = first.retry(tmp_path / "out")
    assert again is first
    assert read(again.result(60).path).numbers == list(range(8))
    assert again.exitcode == 0
    second.join()
    cam.save(tmp_path / "out").join()
    assert cam.status().errors == ()
    assert account(tmp_path / "out") == (list(range(24)), [])


def test_retry_may_fail_as_well(cam, tmp_path, blocked):
    handle = cam.save(blocked)
    handle.join(60)
    with pytest.raises(OSError, match="cube 1 was not saved"):
        handle.retry(blocked).result(60)
    handle.retry(tmp_path).result(60)


def test_a_discarded_cube_counts_as_lost_and_frees_its_slot(cam, tmp_path, blocked):
    handle = cam.save(blocked)
    handle.join(60)
    assert cam.status().slots["HELD"] == 1
    handle.discard()
    status = cam.status()
    assert (status.slots["HELD"], status.lines_lost, status.errors) == (0, 8, ())
    for use in (handle.discard, lambda: handle.retry(tmp_path)):
        with pytest.raises(ArgumentError, match="cube 1 is discarded"):
            use()


def test_only_a_cube_that_failed_can_be_tried_again_or_discarded(cam, tmp_path):
    handle = cam.save(tmp_path)
    handle.join()
    for use in (handle.discard, lambda: handle.retry(tmp_path)):
        with pytest.raises(ArgumentError, match=r"cube 1 is saved: .* is for a cube that failed"):
            use()


def test_a_picture_that_cannot_be_written_does_not_touch_the_cube(cam, tmp_path, caplog):
    cam.save(tmp_path).join()
    cam.collect()
    first = cam.timestamps[0]
    (tmp_path / first.strftime("%Y_%m_%d/%Y_%m_%d-%H_%M_%S_%f.png")).mkdir()
    result = cam.save(tmp_path).result(60)
    assert read(result.path).numbers == list(range(8, 16))
    assert result.preview_path is None
    assert "its preview is not" in caplog.text


def test_durability_rename_saves_as_well_and_says_so(tmp_path):
    with SharedSimulatedCamera(**COUNTING, n_lines=8, durability="rename") as cam:
        cam.collect()
        assert read(cam.save(tmp_path).result(60).path).attributes["durability"] == "rename"
