"""Whether a replay gives the same with any workers, says what is wrong, and survives workers that die or hang."""

import gzip
import json
import signal
import threading

import pytest

from openhsi_shared.analysis import AnalysisError, CaptureError, ParameterError, replay
from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.analysis.streams.capture_writing import CaptureWriter
from openhsi_shared.errors import ArgumentError
from tests.analysis.pairs_for_replay import Adding, Reducer, Summing, Worker

N = 60
QUIET = {"progress": False, "batch_size": 4}


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    path = tmp_path_factory.mktemp("replay") / "a.cbors"
    with CaptureWriter(path) as writer:
        for k in range(N):
            writer.write(Event(k, {"s": StreamData("raw", [bytes([k, 1])])}))
    return path


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPLAY_TEST_FOLDER", str(tmp_path))


@pytest.fixture(scope="module")
def expected(capture):
    return replay(Worker, Reducer, capture, **QUIET).published["all"]


def test_processes_give_what_one_process_gives_and_finish_is_called_once(capture, expected):
    done = replay(Worker, Reducer, capture, n_workers=2, **QUIET)
    assert done.published == {"all": expected, "n_finished": 1}
    assert isinstance(done.reducer, Reducer)
    assert (done.n_events, done.n_results, done.n_failed) == (N, len(expected), 0)
    shuffled = replay(Worker, Reducer, capture, n_workers=2, shuffle=4, **QUIET).published["all"]
    assert shuffled != expected
    assert sorted(shuffled) == sorted(expected)


@pytest.mark.parametrize("fault", ["kill_at", "stop_at"])
def test_a_worker_that_dies_or_hangs_is_replaced_and_no_result_is_missing_or_counts_twice(capture, expected, fault):
    done = replay(Worker, Reducer, capture, {fault: 22}, 2, patience_s=2.0, **QUIET)
    assert done.published["all"] == expected
    assert (done.n_events, done.n_failed) == (N, 0)


def test_sums_of_a_worker_that_dies_are_done_again(capture):
    plain = replay(Summing, Adding, capture, **QUIET).published
    assert replay(Summing, Adding, capture, {"kill_at": 41}, 2, **QUIET).published == plain


def test_sums_of_events_that_cannot_be_read_again_are_counted_as_failed(capture, tmp_path):
    compressed = tmp_path / "a.cbors.gz"
    compressed.write_bytes(gzip.compress(capture.read_bytes()))
    plain = replay(Summing, Adding, compressed, **QUIET)
    done = replay(Summing, Adding, compressed, {"kill_at": 41}, 2, on_error="log", **QUIET)
    # which batches a worker gets depends on its speed; the one that has died noted what it had summed
    summed = (tmp_path / f"summed{(tmp_path / 'kill_at0').read_text()}").read_text()
    lost = {int(number) for number in summed.split()} - {0}
    assert done.n_failed == len(lost)
    assert plain.published["n"] - done.published["n"] == len([number for number in lost if number % 5 != 3])


def test_a_batch_of_which_three_workers_die_is_failed_and_named(capture, expected, caplog):
    deadly = {"kill_at": 22, "n_kills": 9}
    done = replay(Worker, Reducer, capture, deadly, 2, on_error="log", **QUIET)
    lost = {21, 22, 23, 24}  # event 0 is a batch of its own
    assert done.published["all"] == [one for one in expected if one[0] not in lost]
    assert (done.n_events, done.n_failed) == (N, 4)
    assert "events 21 to 24" in caplog.text


@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_event_that_fails_ends_the_replay_with_its_number_after_the_results_before_it(capture, expected, n_workers):
    kept = []

    class Keeping(Reducer):
        def finish(self):
            kept.append(self.publish["all"])

    with pytest.raises(AnalysisError, match="event 30: ValueError: bad 30") as caught:
        replay(Worker, Keeping, capture, {"fail_at": 30}, n_workers, **QUIET)
    assert caught.value.event_number == 30
    assert "raise ValueError" in caught.value.worker_traceback
    assert kept == [[one for one in expected if one[0] < 30]]
    logged = replay(Worker, Reducer, capture, {"fail_at": 30}, n_workers, on_error="log", **QUIET)
    assert logged.n_failed == 1
    assert logged.published["all"] == [one for one in expected if one[0] != 30]


def test_of_a_cut_capture_all_whole_events_are_processed_before_the_error(capture, expected, tmp_path):
    cut = tmp_path / "cut.cbors"
    cut.write_bytes(capture.read_bytes()[:-3])
    seen = []

    class Keeping(Reducer):
        def finish(self):
            seen.extend(self.publish["all"])

    with pytest.raises(CaptureError) as caught:
        replay(Worker, Keeping, cut, n_workers=2, **QUIET)
    assert caught.value.record == N - 1
    assert caught.value.offset is not None
    assert seen == [one for one in expected if one[0] < N - 1]


def test_changes_of_parameters_are_repeated_at_their_events(capture, expected, tmp_path):
    changes = [
        {"event_number": number, "time": "2026-01-01T00:00:00Z", "name": "factor", "data": str(factor)}
        for number, factor in ((7, 2), (33, 3))
    ]
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"parameters": {}, "changes": changes}))
    done = replay(Worker, Reducer, capture, n_workers=2, parameter_log=log, **QUIET)
    factors = {number: 1 + (number >= 7) + (number >= 33) for number in range(N)}
    assert done.published["all"] == [(number, tick, factors[number] * sum_) for number, tick, sum_ in expected]
    assert done.parameters["factor"].value == 3


def test_what_is_published_is_saved_and_its_changes_can_be_repeated_from_there(capture, expected, tmp_path):
    class Numbers(Reducer):
        def finish(self):
            self.publish = {"n": len(self.publish["all"])}

    target = tmp_path / "out.h5"
    replay(Worker, Numbers, capture, {"factor": 4}, publish=target, **QUIET)
    import h5py

    with h5py.File(target) as file:
        assert file["n"][()] == len(expected)
    again = replay(Worker, Reducer, capture, parameter_log=target, **QUIET)
    assert again.published["all"] == [(number, tick, 4 * sum_) for number, tick, sum_ in expected]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"parameters": {"factro": 1}}, ParameterError, "factor"),
        ({"parameters": {"factor": "abc"}}, ParameterError, "factor"),
        ({"parameters": {"fail_at": -2}, "n_workers": 2}, AnalysisError, "no such table"),
        ({"worker": "tests.analysis.pairs_for_replay:Wroker"}, AnalysisError, "Worker"),
        ({"n_workers": 0}, ArgumentError, "n_workers"),
        ({"n_workers": 2, "pdb": True}, ArgumentError, "pdb"),
        ({"on_error": "ignore"}, ArgumentError, "on_error"),
        ({"keep_alive": True}, ArgumentError, "port"),
        ({"ordered": "no"}, ArgumentError, "ordered must be True or False, got 'no'"),
        ({"patience_s": "3"}, ArgumentError, "patience_s must be a number of seconds > 0, got '3'"),
        ({"batch_size": True}, ArgumentError, "batch_size must be a whole number"),
        ({"until": "3"}, ArgumentError, "whole numbers, got first=0, until='3'"),
        ({"first": 1.5}, ArgumentError, "whole numbers, got first=1.5"),
        ({"files": None}, ArgumentError, "a file to replay must be the path"),
        ({"files": b"a.cbors"}, ArgumentError, "a file to replay must be the path .* got b'a.cbors'"),
        ({"publish": "/"}, ArgumentError, "publish: / is a directory"),
        ({"publish": "a\0.h5"}, ArgumentError, "publish .* null character"),
        ({"publish": "~/no/such/folder/a.h5"}, ArgumentError, r"no folder (?!.*~)/.*/no/such/folder"),
        ({"parameters": "a\0.json"}, ArgumentError, "parameters .* null character"),
        ({"parameters": "~/no/such/file.json"}, ParameterError, r"parameters: (?!.*~)/.*/no/such/file.json cannot"),
        ({"parameter_log": "~/no/such/file.json"}, ParameterError, r"parameter_log: (?!~)/"),
        ({"publish": "/no/such/folder/a.h5"}, ArgumentError, "no folder"),
        ({"per": "run", "parameter_log": "x.json"}, ArgumentError, "parameter_log"),
        ({"parameter_log": "/no/such/file.json"}, ParameterError, "No such"),
        ({"scheduler": "nothing://at-all"}, AnalysisError, "does not answer"),
    ],
)
def test_bad_input_is_one_error_before_the_first_event(capture, arguments, error, text):
    arguments = {"worker": Worker, "reducer": Reducer, "files": capture} | QUIET | arguments
    with pytest.raises(error, match=text):
        replay(**arguments)


def test_context_survives_runs_and_classes_do_not(capture, tmp_path):
    two = tmp_path / "two.cbors"
    two.write_bytes(capture.read_bytes() * 2)
    with pytest.raises(CaptureError, match="per"):
        replay(Worker, Reducer, two, **QUIET)
    done = replay(Worker, Reducer, two, per="run", n_workers=2, **QUIET)
    assert [one.reducer.runs for one in done.runs] == [1, 2]
    assert [one.n_events for one in done.runs] == [N, N]
    assert done.runs[0].published == done.runs[1].published


def test_what_is_published_is_saved_with_the_reason_although_finish_raises(capture, tmp_path):
    class Raising(Reducer):
        def finish(self):
            self.publish = {"n": 1}
            raise ValueError("no finish")

    with pytest.raises(AnalysisError, match="no finish"):
        replay(Worker, Raising, capture, publish=tmp_path / "out.h5", **QUIET)
    assert "no finish" in failure_in(tmp_path / "out.h5")


def test_a_reducer_whose_publish_fails_is_named(capture):
    class Failing:
        def process_result(self, result):
            pass

        @property
        def publish(self):
            raise ValueError("no array")

    with pytest.raises(AnalysisError, match=r"publish of the reducer .*Failing failed: ValueError: no array"):
        replay(Worker, Failing, capture, **QUIET)


def test_files_may_come_from_a_generator(capture, expected):
    assert replay(Worker, Reducer, (path for path in [capture]), **QUIET).published["all"] == expected


def test_an_error_of_a_user_whose_text_ends_the_program_is_still_counted(capture, caplog):
    class Strange(Exception):
        def __str__(self):
            raise SystemExit(4)

    class Raising(Reducer):
        def process_result(self, result):
            raise Strange

    n_results = replay(Worker, Reducer, capture, **QUIET).n_results
    assert replay(Worker, Raising, capture, on_error="log", **QUIET).n_failed == n_results > 0
    assert "Strange: (its text cannot be made: SystemExit)" in caplog.text


def failure_in(path):
    import h5py

    with h5py.File(path) as file:
        return file["_analysis"].attrs["failed"]


@pytest.mark.parametrize(("n_workers", "n_signals"), [(1, 1), (2, 1), (1, 2)])
def test_ctrl_c_finishes_the_events_that_workers_have_and_calls_finish(
    capture, expected, n_workers, n_signals, tmp_path
):
    seen = []

    class Interrupting(Reducer):
        def process_result(self, result):
            super().process_result(result)
            if len(self.publish["all"]) == 5:
                for _ in range(n_signals):  # the second one ends it at once
                    signal.raise_signal(signal.SIGINT)

        def finish(self):
            seen.append(self.publish["all"])
            self.publish = {}

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        replay(Worker, Interrupting, capture, n_workers=n_workers, publish=tmp_path / "out.h5", **QUIET)
    assert len(seen) == 1
    assert failure_in(tmp_path / "out.h5")  # what is saved says that it is incomplete
    assert 5 <= len(seen[0]) < len(expected)
    assert seen[0] == expected[: len(seen[0])]
    assert n_signals == 1 or len(seen[0]) < 9  # no more than the batch at hand


def test_a_cluster_of_dask_gives_the_same(capture, expected):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster:
        address = cluster.scheduler_address
        assert replay(Worker, Reducer, capture, scheduler=address, **QUIET).published["all"] == expected
        plain = replay(Summing, Adding, capture, **QUIET).published
        assert replay(Summing, Adding, capture, scheduler=address, **QUIET).published == plain
        with pytest.raises(AnalysisError, match="event 30"):
            replay(Worker, Reducer, capture, {"fail_at": 30}, scheduler=address, **QUIET)
