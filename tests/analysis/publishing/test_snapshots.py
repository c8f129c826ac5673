"""What of `publish` is published, how it travels, and the file of a result."""

import threading
import time

import h5py
import numpy as np
import pytest

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.publishing.result_file import result_path, save_result
from openhsi_shared.analysis.publishing.snapshots import take_snapshot
from openhsi_shared.control.snapshot import Snapshot
from openhsi_shared.errors import AnalysisError, SaveError
from tests.support.published import PublishedHere, Reducer, Worker, all_kinds


def assert_same(taken, publish):
    assert list(taken) == list(publish)
    for key, value in publish.items():
        if isinstance(value, dict):
            assert_same(taken[key], value)
        else:
            np.testing.assert_array_equal(np.asarray(taken[key]), np.asarray(value))
            assert np.asarray(taken[key]).dtype == np.asarray(value).dtype


def test_a_snapshot_equals_what_is_published_also_after_its_way_through_memory():
    published = PublishedHere()
    taken = take_snapshot(published)
    published.publish["image"][:] = 0
    assert taken.problems == ()
    assert_same(taken.as_dict(), all_kinds())
    assert_same(Snapshot.from_memory(taken.to_memory()).as_dict(), all_kinds())


def of_itself():
    publish = {"fine": 1}
    publish["me"] = {"again": publish}
    return publish


def deep():
    publish = {}
    for _ in range(100):
        publish = {"in": publish}
    return {"fine": 1, **publish}


@pytest.mark.parametrize(
    ("publish", "problem"),
    [
        (of_itself(), "me/again: it contains itself"),
        (deep(), "dicts are nested deeper than 32"),
        ({"fine": 1, "a/b": 2}, "a/b: names in HDF5 have no slash"),
        ({"fine": 1, "": 2}, "names in HDF5"),
        ({"fine": 1, 5: 2}, "5: the key is of type int: expected text"),
        ({"fine": 1, "o": object()}, "o: of type object: expected a number, text, or a list"),
        ({"fine": 1, "o": None}, "o: of type NoneType"),
        ({"fine": 1, "o": b"x"}, "o: of type bytes"),
        ({"fine": 1, "o": 2**70}, "o: of type int"),
        ({"fine": 1, "o": [1, "a"]}, "o: of type list"),
        ({"fine": 1, "o": [[1], [1, 2]]}, "o: list that does not become an array"),
        ({"fine": 1, "o": np.array([object()])}, "o: an array of object"),
        ({"fine": 1, "o": np.ma.masked_equal([1, 2], 1)}, "o: a masked array"),
        ({"fine": 1, "o": np.datetime64("2026-01-01")}, "o: of type datetime64"),
        ({"fine": 1, "gone_attrs": {"a": 1}}, "gone_attrs: attributes of 'gone', which is not there"),
        ({"fine": 1, "fine_attrs": {"a": object(), "b/c": 1}}, "fine: attribute a: of type object"),
        (["no dict"], "publish is a list: expected a dict"),
    ],
)
def test_what_cannot_be_published_is_named_and_the_rest_is_published(publish, problem):
    taken = take_snapshot(PublishedHere(publish))
    assert any(problem in one for one in taken.problems), taken.problems
    assert isinstance(publish, list) or taken.as_dict()["fine"] == 1


def test_of_very_many_keys_the_first_are_published_and_the_rest_is_counted():
    taken = take_snapshot(PublishedHere({str(k): k for k in range(1_000_000)}), max_members=100)
    assert len(taken.as_dict()) == 100
    assert taken.problems == ("only the first 100 of 1,000,000 keys are published",)


def test_long_axes_are_thinned_for_a_screen():
    taken = take_snapshot(PublishedHere({"tall": np.arange(5000).reshape(1000, 5), "g": {"n": 1}}), thin_to=100)
    tall = taken.datasets()["tall"]
    assert tall.steps == (10, 1)
    np.testing.assert_array_equal(tall.values, np.arange(5000).reshape(1000, 5)[::10])


def test_no_snapshot_is_of_half_a_change_and_a_reducer_that_hangs_is_said(monkeypatch):
    published = PublishedHere({"a": np.zeros(10_000), "b": np.zeros(10_000)})
    end = threading.Event()

    def change():
        k = 0
        while not end.is_set():
            k += 1
            with published.lock:
                published.publish["a"][:] = k
                time.sleep(0)
                published.publish["b"] = np.full(10_000, k)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            taken = take_snapshot(published).as_dict()
            assert taken["a"][0] == taken["a"][-1] == taken["b"][0]
    finally:
        end.set()
        thread.join()
    monkeypatch.setattr("openhsi_shared.analysis.publishing.published.TIMEOUT_S", 0.05)
    is_held, done = threading.Event(), threading.Event()

    def hang():
        with published.lock:
            is_held.set()
            done.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    is_held.wait()
    with pytest.raises(AnalysisError, match="the reducer has been at one result"):
        take_snapshot(published)
    done.set()
    thread.join()


def test_the_file_of_a_result_has_what_was_published_and_how_it_came_about(tmp_path, caplog):
    published = PublishedHere({**all_kinds(), "_analysis": 5, "bad": object()})
    published.set_parameter("till_x", "9")
    target = result_path(tmp_path / "2026_cube.nc")
    assert target.name == "2026_cube_analysis.h5"
    pair = Pair.of(Worker, Reducer)
    paths = [save_result(target, take_snapshot(published), pair, published.log, {"events": 7}) for _ in range(2)]
    assert paths == [target, tmp_path / "2026_cube_analysis-1.h5"]
    assert "bad: of type object" in caplog.text
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    with h5py.File(target) as file:
        np.testing.assert_array_equal(file["image"][:], all_kinds()["image"])
        assert dict(file["image"].attrs)["units"] == "DN"
        assert file["group/deeper/y"][()] == 1
        assert file["name"].asstr()[()] == "Zürich"
        assert file["image"].fletcher32
        about = file["_analysis"]
        assert about.attrs["worker"] == pair.worker_name
        assert about.attrs[f"sha256 of {pair.worker_name}"] == pair.source_hashes[pair.worker_name]
        assert about.attrs["events"] == 7
        assert about.attrs["parameters_hash"] == published.parameters.hash
        assert about["parameters/till_x"][()] == 9
        assert bytes(about["parameters/poni"][:]) == b"\xff\0"
        assert '"event_number": 5' in about["parameter_log"].asstr()[()]
        assert any("_analysis" in text for text in about.attrs["not_published"])


def test_text_that_hdf5_cannot_store_is_named_if_published_and_escaped_if_it_is_why_the_run_failed(tmp_path, caplog):
    published = PublishedHere({"nul": "a\0b", "half": "\udc80", "n": 1, "n_attrs": {"bad": "c\0d", "good": "e"}})
    pair, why = Pair.of(Worker, Reducer), "ValueError: a frame of a file\0 named \udc80"
    path = save_result(tmp_path / "a.h5", take_snapshot(published), pair, published.log, {"failed_by": why})
    with h5py.File(path) as file:
        assert set(file) == {"n", "_analysis"}
        assert dict(file["n"].attrs) == {"good": "e"}
        about = file["_analysis"].attrs
        assert about["failed_by"] == "ValueError: a frame of a file\\0 named \\udc80"
        assert len(about["not_published"]) == 3
    assert "'nul': HDF5: text with null characters" in caplog.text


def test_a_result_that_cannot_be_saved_raises_and_leaves_nothing(tmp_path):
    published = PublishedHere({"n": 1})
    with pytest.raises(SaveError):
        save_result(tmp_path / "none" / "x.h5", take_snapshot(published), Pair.of(Worker), published.log, {})
    assert list(tmp_path.iterdir()) == []
