"""Analyses beside a recording: every line once, exact counts, and a recording that never notices their failures."""

import ast
import os
import signal
import subprocess
import sys

import h5py
import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.analysis import Analysis, replay
from openhsi_shared.analysis.live.attached import Attached
from openhsi_shared.analysis.live.reducer_process import Finish, ParameterSet, ReducerProcess
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.control_socket import find_sockets, request, socket_path
from openhsi_shared.control.messages import AskAnalysis
from openhsi_shared.errors import AnalysisError, ArgumentError, ParameterError
from tests.support import live_pairs as pairs
from tests.support.flow import COUNTING, account
from tests.support.helpers import environment, run_python, wait_for

pytestmark = pytest.mark.usefixtures("runtime")

KEYWORDS = {**COUNTING, "n_lines": 64, "n_buffers": 4, "rate": 400, "queue": 9999, "progress": False, "savefig": False}


def recorded(tmp_path, analyse, **keywords):
    """Record to the end; returns the handle."""
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=analyse, **{**KEYWORDS, **keywords}) as run:
        run.wait()
    return run


def of_ranges(ranges):
    return [k for ids in ranges for k in range(ids.first, ids.last + 1)]


def test_each_line_is_processed_once_and_the_files_are_those_without_analysis(tmp_path):
    run = recorded(tmp_path, Analysis(pairs.EachLine, pairs.Collected, lossless=True, n_workers=2), n_cubes=3)
    status, published = run.analysis.status, run.analysis.published
    assert (status.state, status.events, status.results, status.skipped, status.failed) == ("ended", 194, 194, 0, 0)
    assert (published["n"], published["n_finished"]) == (194, 1)
    results = [ast.literal_eval(text) for text in published["results"]]
    assert [number for number, *_ in results] == list(range(194))
    lines = [about for _, about, *_ in results[1:-1]]
    assert [(cube, y) for cube, y, *_ in lines] == [(1 + k // 64, k % 64) for k in range(192)]
    assert account(tmp_path / "out") == (list(range(192)), [])
    assert run.analysis.parameters == {"scale": 1}
    assert status.not_saved == 0
    assert run.status().analyses["EachLine"] == status


def test_lines_of_cubes_that_were_discarded_since_no_event_came_are_counted(tmp_path):
    analysis = Analysis(pairs.Ids, pairs.Published, lossless=True)
    keywords = KEYWORDS | {"save_when": "mark", "keep_before_s": 0.1}
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=analysis, **keywords) as run:
        wait_for(lambda: run.analysis.status.results > 2 * KEYWORDS["n_lines"])
    assert run.summary.paths == ()
    assert run.analysis.status.not_saved == len(run.analysis.published["ids"]) > 64


def test_the_result_equals_that_of_a_replay_of_the_files_changes_of_parameters_included(tmp_path):
    analysis = Analysis(pairs.EachLine, pairs.Collected, lossless=True, n_workers=2, parameters={"scale": 3})
    keywords = {**KEYWORDS, "rate": 80, "when_full": "block", "script": {19: "gap", 100: "gap"}}
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=analysis, **keywords) as run:
        wait_for(lambda: run.analysis.status.results > 40)
        number, _ = run.analysis.set_parameter("scale", 7)
        wait_for(lambda: run.analysis.status.results > number + 20)
        with pytest.raises(ParameterError, match="expected an integer, got 'many'"):
            run.analysis.set_parameter("scale", "many")
        second, _ = run.analysis.set_parameter("scale", 8)
        assert run.analysis.parameters == {"scale": 8}
        wait_for(lambda: run.analysis.published["n"] > max(second, 2 * KEYWORDS["n_lines"]))
        run.stop()
        run.wait()
    with pytest.raises(AnalysisError, match="has ended"):
        run.analysis.set_parameter("scale", 9)
    live = run.analysis.published["results"]
    scales = [ast.literal_eval(text)[-1] for text in live]
    assert scales == [3] * number + [7] * (second - number) + [8] * (len(scales) - second)
    (saved,) = (tmp_path / "out").rglob("*_analysis.h5")
    assert str(saved) == run.analysis.status.saved_to
    with h5py.File(saved) as file:
        assert [text.decode() for text in file["results"][:]] == list(live)
        (tmp_path / "log.json").write_bytes(file["_analysis/parameter_log"][()])
    replayed = replay(
        pairs.EachLine, pairs.Collected, [tmp_path / "out"], parameter_log=tmp_path / "log.json", progress=False
    )
    assert replayed.reducer.publish["results"] == list(live)
    assert replayed.n_events == run.analysis.status.events


def test_each_cube_can_be_a_run_of_its_own_as_in_a_replay(tmp_path):
    run = recorded(tmp_path, Analysis(pairs.EachLine, pairs.Collected, lossless=True, per="cube"), n_cubes=3)
    status = run.analysis.status
    assert (status.results, status.events, status.failed) == (198, 198, 0), f"{run.summary}; {status}"
    replayed = replay(pairs.EachLine, pairs.Collected, [tmp_path / "out"], per="cube", progress=False)
    live = []
    for saved in sorted((tmp_path / "out").rglob("*_analysis.h5")):
        with h5py.File(saved) as file:
            live.append([text.decode() for text in file["results"][:]])
    assert live == [one.reducer.publish["results"] for one in replayed.runs]
    assert run.analysis.status.restarts == 0  # the worker was made again, and nothing died


@pytest.mark.parametrize("modes", [[True], ["best_effort", False]])
def test_a_worker_that_is_too_slow_costs_only_what_its_mode_says_and_every_line_is_counted(
    tmp_path, monkeypatch, modes
):
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    analyses = [Analysis(pairs.Gated, pairs.Published, lossless=mode, name=f"slow-{mode}") for mode in modes]
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=analyses, n_cubes=8, **KEYWORDS) as run:
        wait_for(lambda: run.status().lines + run.status().lines_lost == 512)
        (tmp_path / "gate").touch()
        summary = run.wait()
    for analysis, mode in zip(run.analyses.values(), modes, strict=True):
        status = analysis.status
        seen, skipped = analysis.published["ids"], of_ranges(status.skipped_ids)
        assert sorted([*seen, *skipped, *of_ranges(summary.lost_ids)]) == list(range(512))
        assert status.skipped == len(skipped)
        if mode is True:
            assert not skipped
            assert 0 < status.lines_lost <= summary.lines_lost
        else:
            assert status.lines_lost == 0, "what a slow disk costs is not the analysis'"
            assert skipped or summary.lines_lost


def test_a_loss_names_the_analysis_that_causes_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    analysis = Analysis(pairs.Gated, pairs.Published, lossless=True, name="gated")
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=analysis, **{**KEYWORDS, "n_buffers": 2}) as run:
        wait_for(lambda: run.analysis.status.lines_lost > 3 * KEYWORDS["n_lines"])  # cubes without lines among them
        assert any("analysis gated holds slot" in reader for reader in run.status().readers)
        (tmp_path / "gate").touch()
        wait_for(lambda: run.status().cubes_saved > 3)
        run.stop()
        run.wait()
    assert "slots are held by analysis gated" in caplog.text
    assert "a cube has no lines, all 64 were lost" in caplog.text
    assert sorted(run.analysis.published["ids"]) == account(tmp_path / "out")[0]
    assert run.analysis.status.lines_lost > 0


@pytest.mark.parametrize(
    ("analyse", "is_stopped"),
    [
        (Analysis(pairs.Ids, pairs.GatedFinish, lossless=True), True),
        (Analysis(pairs.GatedFlush, pairs.Published, lossless=True), True),
        (Analysis(pairs.Failing, pairs.GatedFinish, lossless=True, on_error="raise"), False),
    ],
)
def test_an_analysis_that_takes_no_more_lines_holds_no_slot_while_it_finishes(
    tmp_path, monkeypatch, analyse, is_stopped
):
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=analyse, **KEYWORDS) as run:
        wait_for(lambda: run.analysis.status.events > 4)
        if is_stopped:
            run.analysis.stop()
        wait_for(lambda: not any("analysis" in reader for reader in run.status().readers))
        n_cubes = run.status().cubes_saved
        wait_for(lambda: run.status().cubes_saved > n_cubes + KEYWORDS["n_buffers"])
        assert not any("analysis" in reader for reader in run.status().readers)
        assert run.analysis.status.state in ("running", "ending")
        (tmp_path / "gate").touch()
        wait_for(lambda: run.analysis.status.saved_to)
        run.stop()
    status = run.analysis.status
    assert (status.skipped, status.lines_lost) == (0, 0), "what comes later is not looked at"
    assert status.waiting <= KEYWORDS["n_lines"] * KEYWORDS["n_buffers"]


def test_a_worker_that_dies_is_replaced_and_its_batch_counts_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GATE", str(tmp_path / "mark"))
    (tmp_path / "mark").touch()
    run = recorded(tmp_path, Analysis(pairs.Dies, pairs.Published, lossless=True), n_cubes=2, when_full="block")
    assert sorted(run.analysis.published["ids"]) == list(range(128))
    assert (run.analysis.status.restarts, run.analysis.status.failed) == (1, 0)
    assert "was killed by SIGKILL" in caplog.text


def test_a_hung_worker_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("GATE", str(tmp_path / "mark"))
    monkeypatch.setenv("DEATH", "SIGSTOP")
    (tmp_path / "mark").touch()
    analysis = Analysis(pairs.Dies, pairs.Published, lossless=True, patience_s=5.0)
    run = recorded(tmp_path, analysis, n_cubes=2, when_full="block")
    assert sorted(run.analysis.published["ids"]) == list(range(128))
    assert (run.analysis.status.restarts, run.analysis.status.failed) == (1, 0)


FAULTS = [(who, number) for who in ("reducer", "dispatcher") for number in (signal.SIGKILL, signal.SIGSTOP)]
"""The last one takes the way of every reader that hangs: see `test_hosting`."""


@pytest.mark.parametrize("cases", [FAULTS[:-1], pytest.param(FAULTS, marks=pytest.mark.campaign)], ids=len)
def test_a_dispatcher_or_reducer_that_dies_or_hangs_ends_its_analysis_only(tmp_path, caplog, cases):
    analyses = [
        Analysis(pairs.Ids, pairs.Published, lossless=True, name=f"{who}{number}", patience_s=5.0)
        for who, number in cases
    ]
    keywords = {**KEYWORDS, "when_full": "block", "rate": 200}
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=analyses, **keywords) as run:
        wait_for(lambda: all(analysis.results for analysis in run.status().analyses.values()), 60)
        for (who, number), analysis in zip(cases, analyses, strict=True):
            os.kill(run.analyses[analysis.name].status.processes[who], number)
        wait_for(lambda: all(a.state == "failed" for a in run.status().analyses.values()), 60)
        n_saved = run.status().cubes_saved
        wait_for(lambda: run.status().cubes_saved > n_saved + 2)
        assert not run.status().readers
        run.stop()
        summary = run.wait()
    assert summary.lines_lost == 0
    assert account(tmp_path / "out") == (list(range(summary.lines)), [])
    for (who, _), analysis in zip(cases, analyses, strict=True):
        status = run.analyses[analysis.name].status
        assert ("reducer" in status.why) is (who == "reducer"), status
        assert status.events


def test_what_fails_is_counted_and_logged_and_the_rest_goes_on_or_ends_if_that_is_wanted(tmp_path, caplog):
    goes_on = Analysis(pairs.Failing, pairs.Published, lossless=True, name="goes-on")
    ends = Analysis(pairs.Failing, pairs.Published, lossless=True, name="ends", on_error="raise")
    run = recorded(tmp_path, [goes_on, ends], n_cubes=2, when_full="block")
    goes_on, ends = run.analyses["goes-on"], run.analyses["ends"]
    assert sorted(goes_on.published["ids"]) == [k for k in range(128) if k + 1 not in (5, 6, 7, 8)]
    assert goes_on.status.failed == 4
    assert "Failing failed at event 5: StopIteration" in caplog.text
    assert "Traceback" in caplog.text
    assert "a worker prints" not in caplog.text  # at level INFO
    assert (ends.status.state, run.summary.lines_lost) == ("failed", 0)
    assert "event 5" in ends.status.why


def test_a_reducer_that_fails_has_its_result_saved_once_with_the_reason(tmp_path):
    analyses = [
        Analysis(pairs.Ids, pairs.FinishFails, lossless=True, name="of-a-cube", per="cube"),
        Analysis(pairs.Ids, pairs.FinishFails, lossless=True, name="at-the-end"),
        Analysis(pairs.Ids, pairs.ResultFails, lossless=True, name="of-a-result", on_error="raise"),
    ]
    run = recorded(tmp_path, analyses, n_cubes=2, when_full="block")
    assert run.summary.lines_lost == 0
    saved = sorted(str(path) for path in (tmp_path / "out").rglob("*_analysis*.h5"))
    assert saved == sorted(analysis.status.saved_to for analysis in run.analyses.values())
    for analysis in run.analyses.values():
        assert analysis.status.state == "failed"
        assert analysis.published["n_finished"] == 1
        with h5py.File(analysis.status.saved_to) as file:
            assert (file["n_finished"][()], file["_analysis"].attrs["failed_by"]) == (1, analysis.status.why)


def test_a_reducer_takes_a_change_of_parameters_for_which_nobody_waits_any_more():
    reducer = ReducerProcess(Analysis(pairs.EachLine, pairs.Collected))
    try:
        reducer.wait_ready()
        reducer.send(ParameterSet(7, 0, None, None))
        status = AnalysisStatus(name="EachLine", mode="tap")
        reducer.send(Finish(failed_by="", save_as="", status=status, changes=""))
        found = []
        wait_for(lambda: found.extend(reducer.receive()) or found)
    finally:
        reducer.close()
    assert (found[0].error, bool(found[0].published)) == ("", True)


@pytest.mark.parametrize(
    ("analyse", "error", "words"),
    [
        ((pairs.CannotBeMade, pairs.Published), AnalysisError, "no table"),
        ("tests.support.live_pairs:Idz", AnalysisError, "Ids"),
        (5, AnalysisError, "expected Analysis"),
        ([pairs.Ids, pairs.Ids], ArgumentError, "2 analyses have the name 'Ids'"),
    ],
)
def test_what_does_not_fit_is_an_error_before_the_first_line(tmp_path, analyse, error, words):
    with pytest.raises(error, match=words):
        record(SharedSimulatedCamera, tmp_path / "out", analyse=analyse, **KEYWORDS)
    assert not list((tmp_path).rglob("*.nc"))


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"lossless": "yes"}, ArgumentError, "lossless must be one of"),
        ({"lossless": 1}, ArgumentError, "lossless must be one of"),
        ({"per": "line"}, ArgumentError, "per must be one of"),
        ({"n_workers": 0}, ArgumentError, "n_workers must be a whole number from 1"),
        ({"port": 99999}, ArgumentError, "port must be"),
        ({"patience_s": 0}, ArgumentError, "patience_s must be a number of seconds > 0"),
        ({"patience_s": "3"}, ArgumentError, "patience_s must be a number of seconds > 0"),
        ({"ordered": "no"}, ArgumentError, "ordered must be True or False, got 'no'"),
        ({"debug": 1}, ArgumentError, "debug must be True or False, got 1"),
        ({"name": "a/b"}, ArgumentError, "name of an analysis"),
        ({"name": 5}, ArgumentError, "name of an analysis"),
        ({"parameters": {"skale": 2}}, ParameterError, "scale"),
        ({"parameters": {"scale": "abc"}}, ParameterError, "expected an integer"),
    ],
)
def test_options_that_do_not_fit_are_refused(keywords, error, words):
    with pytest.raises(error, match=words):
        Analysis(pairs.EachLine, pairs.Collected, **keywords)


def test_an_analysis_attaches_to_a_recording_and_is_started_again_and_the_recording_never_notices(tmp_path):
    keywords = {**KEYWORDS, "rate": 200, "when_full": "block"}
    command = [sys.executable, "-m", "openhsi_shared", "analyse", "-r", "tests.support.live_pairs:Published", "-w"]
    gate = environment(GATE=str(tmp_path / "gate"))
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run:
        path = socket_path(f"recording-{run.process_id}")
        with Attached(Analysis(pairs.Ids, pairs.Published), path) as first:
            wait_for(lambda: results_of(first))
            first.stop()
            first.wait()
            assert (first.status.state, first.status.failed) == ("ended", 0)
        with subprocess.Popen([*command, "tests.support.live_pairs:NeverMade"], env=gate) as interrupted:
            wait_for((tmp_path / "gate").exists, 60)
            interrupted.send_signal(signal.SIGINT)
        assert interrupted.returncode == 130
        with subprocess.Popen([*command, "tests.support.live_pairs:Ids"], env=gate, stderr=-1, text=True) as program:
            wait_for(attached_results, 60)
            run.stop()
            _, errors = program.communicate(timeout=60)
        summary = run.wait()
        assert (run.status().readers, run.status().analyses) == ((), {})
    assert (program.returncode, errors.startswith("ended, tap")) == (0, True), errors
    saved = [*(tmp_path / "out").rglob("*_analysis_attached*.h5")]
    assert len(saved) == 2
    assert all(path.with_name(f"{path.stem.partition('_analysis')[0]}.nc").exists() for path in saved)
    assert account(tmp_path / "out") == (list(range(summary.lines)), [])


def attached_results():
    """Results of the analysis of another process, once it has a socket."""
    return [request(path, AskAnalysis()).answer.status.results for path in find_sockets(of_analyses=True)] not in (
        [],
        [0],
    )


def results_of(attached):
    """Results of which it has told; only its own thread receives."""
    attached._receive_until(AnalysisStatus)
    return attached.status.results


def test_the_command_record_has_an_analysis(tmp_path):
    names = "tests.support.live_pairs:EachLine,tests.support.live_pairs:Collected"
    (tmp_path / "p.json").write_text('{"scale": 5}')
    options = ["--cubes", "2", "--lines", "32", "--analyse", names, "--lossless", "-p", str(tmp_path / "p.json")]
    out = ["--out", str(tmp_path / "out"), "--rate", "200", "--option", "resolution=[16, 32]"]
    out += ["--option", "queue=9999", "--when-full", "block"]
    done = run_python("-m", "openhsi_shared", "record", *options, *out)
    assert done.returncode == 0, done.stderr
    (saved,) = (tmp_path / "out").rglob("*_analysis.h5")
    with h5py.File(saved) as file:
        assert [ast.literal_eval(text.decode())[-1] for text in file["results"][:]] == [5] * 66


def test_an_analysis_that_is_stopped_within_the_first_cube_has_a_result_file(tmp_path):
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=(pairs.Ids, pairs.Published), **KEYWORDS) as run:
        wait_for(lambda: run.analysis.status.results)
        run.analysis.stop()
        wait_for(lambda: run.analysis.status.saved_to)
        run.stop()
    (saved,) = (tmp_path / "out").rglob("*_analysis.h5")
    assert str(saved) == run.analysis.status.saved_to
