"""Files of rows."""

import subprocess
import sys
import threading

import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared.channels import read_rows
from openhsi_shared.channels.recorder import files
from openhsi_shared.errors import FileError, NothingToSave, SaveError
from tests.channels.fed_recorder import SHAPE, START_NS, Counter
from tests.support.helpers import environment


def test_rows_are_saved_and_read_again_as_they_were(fed, tmp_path):
    one = fed("HSI:temp", "b", image={}, maxlen=30)
    recorder = one.recorder
    one.feed(30)
    recorder.shift("b", 2)
    heard = [Counter(signal) for signal in (recorder.save_started, recorder.saved)]
    handle = recorder.save(tmp_path / "rows.nc")
    data = recorder.snapshot()
    recorder.clear()
    result = handle.result(60)
    assert (handle.exitcode, handle.is_alive(), result.n_rows) == (0, False, 28)
    assert result.path == tmp_path / "rows.nc"
    for counter in heard:
        counter.wait_for(1)
        assert counter.heard == [(str(result.path),)]
    found = read_rows(result.path)
    assert list(found) == list(data)
    assert found.attributes["shifts"] == {"b": 2}
    for name, column in data.items():
        if name == "img":
            assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(column, found[name], strict=True))
        else:
            assert (found[name] == column).all()
    with xr.open_dataset(result.path) as ds:
        assert ds["HSI_temp"].attrs["long_name"] == "HSI:temp"
        assert (ds["time"].values == data["time_ns"].astype("datetime64[ns]")).all()
        assert ds["img_size"].attrs["sample_dimension"] == "img_pixel"
        xr.testing.assert_equal(ds.load(), data.to_dataset())
    again = one.recorder
    with pytest.raises(NothingToSave, match="there are no rows to save"):
        again.save(tmp_path / "rows.nc")


def test_saves_are_queued_and_overwrite_nothing(fed, tmp_path):
    one = fed(maxlen=3)
    handles = []
    for k in range(5):
        one.feed(1, first=k)
        handles.append(one.recorder.save(str(tmp_path / "rows.nc")))
    paths = [handle.result(60).path.name for handle in handles]
    assert paths == ["rows.nc", *(f"rows-{k}.nc" for k in range(1, 5))]
    assert [read_rows(tmp_path / path)["a"].tolist() for path in paths] == [
        [0],
        [0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(paths)


def test_a_save_that_fails_raises_in_its_handle_and_is_a_signal(fed, tmp_path):
    one = fed()
    one.feed(1)
    failed = Counter(one.recorder.save_failed)
    handle = one.recorder.save(tmp_path / "no such directory" / "rows.nc")
    handle.join(60)
    assert handle.exitcode == 1
    failed.wait_for(1)
    with pytest.raises(SaveError, match="No such file or directory"):
        handle.result()
    assert isinstance(failed.heard[0][0], SaveError)


class Leaving(BaseException):
    """An exception that no handler expects."""


def test_saves_that_wait_for_a_thread_that_fails_raise_the_cause_and_the_next_one_is_saved(fed, tmp_path, monkeypatch):
    one, begun, may_fail = fed(), threading.Event(), threading.Event()
    one.feed(1)

    def fail(*_):
        begun.set()
        may_fail.wait(60)
        raise Leaving("injected")

    monkeypatch.setattr(files, "write_rows", fail)
    handles = [one.recorder.save(tmp_path / "rows.nc")]
    assert begun.wait(60)
    handles.append(one.recorder.save(tmp_path / "rows.nc"))
    may_fail.set()
    for handle in handles:
        with pytest.raises(SaveError, match="the thread that saves rows has failed: Leaving: injected") as caught:
            handle.result(60)
        assert isinstance(caught.value.__cause__, Leaving)
    monkeypatch.undo()
    assert one.recorder.save(tmp_path / "rows.nc").result(60).n_rows == 1


def test_a_slot_that_exits_does_not_cost_the_rows_that_wait(fed, tmp_path):
    one = fed()
    one.feed(1)
    one.recorder.saved.connect(lambda _: sys.exit("of the slot"))
    for handle in [one.recorder.save(tmp_path / "rows.nc") for _ in range(2)]:
        assert handle.result(60).n_rows == 1


def test_empty_regions_and_other_files(fed, tmp_path):
    one = fed(image={}, maxlen=5)
    came = Counter(one.recorder.new_row)
    one.push(0, only=("a", "b"))
    one.channels["img"].push(np.zeros(SHAPE, np.uint16), START_NS)
    came.wait_for(1)
    found = read_rows(one.recorder.save(tmp_path / "rows.nc").result(60).path)
    assert found["img"][0].shape == (0, 0)
    with netCDF4.Dataset(tmp_path / "other.nc", "w"):
        pass
    with pytest.raises(FileError, match="contains no rows of a recorder"):
        read_rows(tmp_path / "other.nc")
    (tmp_path / "text.nc").write_text("text")
    whole = (tmp_path / "rows.nc").read_bytes()
    (tmp_path / "short.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="cannot be read"):
        read_rows(tmp_path / "short.nc")
    for name in ("text.nc", "nothing.nc"):
        with pytest.raises(FileError, match="cannot be read"):
            read_rows(tmp_path / name)


def test_pending_saves_are_finished_when_the_program_ends(tmp_path):
    program = f"""
import numpy as np
from openhsi_shared.channels import CallbackChannel, Recorder
channel = CallbackChannel("a")
recorder = Recorder({{"a": channel}}, maxlen=100)
recorder.start()
for k in range(100):
    channel.push(k, {START_NS} + k)
recorder.stop()
recorder.save({str(tmp_path / "rows.nc")!r})
recorder.save({str(tmp_path / "no" / "rows.nc")!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment(), timeout=60
    )
    assert read_rows(tmp_path / "rows.nc")["a"].tolist() == list(range(100))
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr


def test_without_threads_a_save_is_refused_and_the_next_one_is_saved(fed, tmp_path, monkeypatch):
    one = fed()
    one.feed(1)
    with monkeypatch.context() as patch:
        patch.setattr(files.GuardedThread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more threads")))
        with pytest.raises(SaveError, match="no more threads: save the rows again"):
            one.recorder.save(tmp_path / "rows.nc")
    assert one.recorder.save(tmp_path / "rows.nc").result(60).path.name == "rows.nc"
