"""The ready pairs give the numbers of plain loops and of jobs' stages, whatever workers, batches and order."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.events import About, Event, Line
from openhsi_shared.analysis.pairs.index import IndexReducer, IndexWorker
from openhsi_shared.analysis.pairs.mean_spectrum import MeanSpectrumReducer, MeanSpectrumWorker
from openhsi_shared.analysis.pairs.monitor import MonitorReducer, MonitorWorker
from openhsi_shared.analysis.pairs.rx import RxReducer, RxWorker
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.line_events import LineStream
from openhsi_shared.analysis.streams.source import Range
from openhsi_shared.analysis.work.messages import Batch
from openhsi_shared.analysis.work.reduce import ReduceRunner
from openhsi_shared.analysis.work.worker import WorkerRunner
from openhsi_shared.exposure import focus_of
from openhsi_shared.jobs.stages.anomaly import ReedXiaoli
from openhsi_shared.jobs.stages.index import Index
from tests.support.stage_runs import run_in_blocks

WAVELENGTHS = np.arange(600.0, 900.0, 25.0)
PAIRS: dict[str, tuple[type, type]] = {
    "mean": (MeanSpectrumWorker, MeanSpectrumReducer),
    "index": (IndexWorker, IndexReducer),
    "rx": (RxWorker, RxReducer),
    "monitor": (MonitorWorker, MonitorReducer),
}


def made_lines(dtype: str = "uint16", n: int = 45) -> np.ndarray:
    lines = np.random.default_rng(3).uniform(1, 4000, (n, 9, len(WAVELENGTHS)))
    lines[7, 2] *= 3
    lines[8, 3] = 4095
    if dtype == "float32":
        lines[5, 1] = np.nan
    return lines.astype(dtype)


def events_of(lines: np.ndarray, wavelengths: np.ndarray | None = WAVELENGTHS) -> Iterator[Event]:
    about = About(wavelengths_nm=wavelengths, level=-1, settings={}, exposure_ms=1.0, full_scale=4095)
    stream = LineStream("lines")
    yield stream.header("", about)
    for y, data in enumerate(lines):
        now = np.datetime64(y, "ns")
        line = Line(data=data, cube=1, y=y, frame_id=y, time=now, temperature=20.0)
        yield stream.line(y + 1, line, about)
    yield stream.end(len(lines) + 1, about)


def run(name: str, lines: np.ndarray, seed: int | None = None, **values: Any) -> Any:
    """Run a pair; with a seed, workers, batches and the order of their results are random."""
    pair = Pair.of(*PAIRS[name])
    parameters = Parameters(pair.described, values)
    chance = random.Random(seed)
    workers = [WorkerRunner(pair, f"w{n}", {}, parameters) for n in range(1 if seed is None else chance.randint(2, 4))]
    reducer = ReduceRunner(pair, {}, parameters)
    events = list(events_of(lines))
    results = []
    while events:
        n = 1 if events[0].event_number == 0 else chance.randint(1, 9)
        part, events = events[:n], events[n:]
        numbers = np.array([event.event_number for event in part])
        for worker in workers if numbers[0] == 0 else [chance.choice(workers)]:
            results.append(worker.process(Batch(number=len(results), part=Range(numbers=numbers)), part))
    if seed is not None:
        chance.shuffle(results)
    for result in results:
        assert not result.failures
        assert not reducer.take(result, parameters)
        if chance.random() < 0.3:
            assert reducer.run_timer() is None
    reducer.finish()
    return reducer.publish


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return isinstance(one, str) or np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("name", PAIRS)
def test_workers_batches_and_order_of_results_do_not_matter(name: str, dtype: str) -> None:
    lines = made_lines(dtype)
    values = {"n": 13} if name == "rx" else {}
    expected = run(name, lines, **values)
    assert expected["n_lines"] == len(lines)
    for seed in range(6):
        assert same(run(name, lines, seed, **values), expected), seed


def test_mean_and_ratio_are_those_of_numpy() -> None:
    lines = made_lines()
    found = run("mean", lines)
    pixels = lines.reshape(-1, lines.shape[2]).astype(np.float64)
    assert np.allclose(found["mean"], pixels.mean(axis=0), rtol=1e-13)
    assert np.allclose(found["snr"], pixels.mean(axis=0) / pixels.std(axis=0, ddof=1), rtol=1e-12)
    assert found["wavelength"].tolist() == WAVELENGTHS.tolist()


@pytest.mark.parametrize("formula", ["ndvi", "R800/R670", "R640_740/R800"])
def test_the_index_has_the_bits_of_the_stage_of_jobs(formula: str) -> None:
    lines = made_lines("float32")
    expected = run_in_blocks(Index(formula), lines, 5, wavelengths_nm=WAVELENGTHS)[:, :, 0]
    found = run("index", lines, formula=formula)
    assert np.array_equal(found["index"], expected, equal_nan=True)
    assert found["event_number"].tolist() == list(range(1, len(lines) + 1))


def test_an_index_without_wavelengths_fails_and_says_why() -> None:
    pair = Pair.of(IndexWorker, IndexReducer)
    worker = WorkerRunner(pair, "w", {}, Parameters(pair.described))
    events = list(events_of(made_lines()[:1], wavelengths=None))
    found = worker.process(Batch(number=0, part=Range(numbers=np.arange(3))), events)
    assert [failure.event_number for failure in found.failures] == [1]
    assert "'ndvi' needs the wavelengths" in found.failures[0].error


def test_rx_is_that_of_spectral_python_with_the_lines_before_as_background() -> None:
    spectral = pytest.importorskip("spectral")
    lines = made_lines()
    found = run("rx", lines, n=13)["distance"]
    for first, stop, n_background in ((0, 13, 13), (13, 26, 13), (26, 39, 26), (39, 45, 39)):
        background = spectral.calc_stats(lines[:n_background].astype(np.float64))
        expected = spectral.rx(lines[first:stop].astype(np.float64), background=background)
        assert np.allclose(found[first:stop], expected, rtol=1e-5)


def test_rx_of_a_cube_that_is_its_own_background_is_that_of_the_stage_of_jobs() -> None:
    lines = made_lines("float32")
    expected = run_in_blocks(ReedXiaoli(), lines, 5)[:, :, 0]
    found = run("rx", lines)
    assert np.allclose(found["distance"], expected, rtol=1e-6, equal_nan=True)
    assert found["largest"] == np.nanmax(found["distance"][-1])
    assert found["n_background"] == len(lines)
    binned = run("rx", lines, bin_bands=5)["distance"]
    means = lines[:, :, :10].reshape(*lines.shape[:2], 2, 5).mean(axis=3)
    assert np.allclose(binned, run_in_blocks(ReedXiaoli(), means, 5)[:, :, 0], rtol=1e-5, equal_nan=True)


def test_rx_waits_for_a_covariance_and_counts_lines_that_come_too_late() -> None:
    lines = np.full((300, 9, len(WAVELENGTHS)), 7, np.uint16)
    lines[20:] = made_lines(n=280)
    pair = Pair.of(RxWorker, RxReducer)
    parameters = Parameters(pair.described, {"n": 4})
    worker, reducer = WorkerRunner(pair, "w", {}, parameters), ReduceRunner(pair, {}, parameters)
    events = list(events_of(lines))
    order = [*events[2:], events[1]]
    for number, event in enumerate(order):
        part = Range(numbers=np.array([event.event_number]))
        reducer.take(worker.process(Batch(number=number, part=part), [event]), parameters)
    reducer.finish()
    found = reducer.publish
    assert "all alike" in found["no_background"]
    assert found["n_late"] == 1
    assert len(found["distance"]) == found["n_lines"] == 300


def test_the_monitor_sees_what_the_live_page_sees() -> None:
    lines = made_lines()
    found = run("monitor", lines, limit_percent=5.0)
    assert found["history"]["saturated_percent"][8] == pytest.approx(100 * np.mean(lines[8] >= 4095))
    assert found["focus"] == pytest.approx(focus_of(lines[-1]))
    assert found["n_saturated_lines"] == sum(np.mean(line >= 4095) >= 0.05 for line in lines)
