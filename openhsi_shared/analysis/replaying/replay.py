"""Replay: run a worker and a reducer over captures, saved cubes or flights, on this machine or on a cluster of Dask."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameter_files import parameters_of
from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.replaying.session import Replayed, ReplayOptions, ReplaySession
from openhsi_shared.analysis.streams.sources import open_sources, paths_of
from openhsi_shared.analysis.work.run import OnError
from openhsi_shared.analysis.work.workers import PATIENCE_S
from openhsi_shared.errors import ArgumentError, ParameterError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path

__all__ = ["replay"]

logger = safe_logger(__name__)

Files = Sequence[str | Path] | str | Path


def replay(
    worker: type | str,
    reducer: type | str | None,
    files: Files = (),
    parameters: Mapping[str, Any] | str | Path | None = None,
    n_workers: int = 1,
    *,
    source: type | str | None = None,
    first: int | None = None,
    until: int | None = None,
    only: int | None = None,
    per: Literal["cube", "run"] | None = None,
    stream: str = "lines",
    processing_lvl: int | None = None,
    ordered: bool = False,
    shuffle: int | None = None,
    on_error: OnError = "raise",
    pdb: bool = False,
    debug: bool = False,
    parameter_log: str | Path | None = None,
    publish: str | Path | None = None,
    port: int | str | None = None,
    keep_alive: bool = False,
    scheduler: str | None = None,
    trust_pickles: bool = False,
    patience_s: float = PATIENCE_S,
    batch_size: int | None = None,
    progress: bool = True,
) -> Replayed:
    """Let a worker process the events of `files`, and a reducer their results, as they would live. Blocks.

    `worker`, `reducer`: a class, or "module:Class", found from the current folder on. `files`: captures, which are
    merged by event number, or cubes and folders of cubes, which are joined along track; or `source`, a class with
    `get_source_generators`. The result does not depend on `n_workers` and `batch_size`: batch k goes to worker
    k mod n, and results are reduced in the order of events, unless `shuffle`, a seed, makes both random.

    `parameters`: values by name, or a file of them; `parameter_log`: a file with changes of parameters, which are
    repeated at the same events. `first`, `until`, `only` choose events by number. `per`: a run for each cube, or for
    each of several runs that are in a capture; both classes are made again for each. `processing_lvl`: of lines.
    `ordered`: the reducer gets results by event number, also with `shuffle`. `pdb`: post-mortem in an event that fails.
    `debug`: memory of events is overwritten behind the worker. `publish`: file for the result, `.h5`. `port`: what is
    published is served there, with `keep_alive` until Ctrl-C. `scheduler`: address of a scheduler of Dask, whose
    workers work. A worker process is replaced if it works on a batch for longer than `patience_s`.

    AnalysisError, ParameterError, CaptureError, FileError and ArgumentError, before the first event where possible. An
    event that fails ends the replay with AnalysisError, or with `on_error="log"` counts in `n_failed`. Of a capture
    that is cut, all whole events are processed before CaptureError. `finish` of the reducer is called in any case.
    Ctrl-C: events that workers have are finished, then KeyboardInterrupt; a second one ends it at once.
    """
    paths = paths_of(files)
    options = ReplayOptions(
        n_workers=n_workers,
        ordered=ordered,
        shuffle=shuffle,
        on_error=on_error,
        pdb=pdb,
        debug=debug,
        patience_s=patience_s,
        batch_size=batch_size,
        progress=progress,
        publish=None if publish is None else given_path(publish, "publish", "the path of a file"),
        port=port,
        keep_alive=keep_alive,
        scheduler=scheduler,
    )
    if per is not None and parameter_log is not None:
        raise ArgumentError(f"parameter_log is for one run, got per={per!r}")
    pair = Pair.of(worker, reducer)
    values = parameters_of(pair.described, parameters, trust_pickles)
    sources = open_sources(
        paths,
        per=per,
        stream=stream,
        processing_lvl=processing_lvl,
        source=source,
        trust_pickles=trust_pickles,
        first=first,
        until=until,
        only=only,
    )
    repeated = (
        None
        if parameter_log is None
        else _changes(pair, given_path(parameter_log, "parameter_log", "the path of a file"), parameters is not None)
    )
    with ReplaySession(pair, options, paths) as session:
        for one in sources:
            log = repeated or ParameterLog(pair.described, _from_first_event(pair, values))
            session.run(one, log)
            values = log.newest
        session.serve_until_interrupt()
    return session.replayed


def _from_first_event(pair: Pair, values: Parameters) -> Parameters:
    return Parameters(pair.described, {name: one.data for name, one in values.items()})


def _changes(pair: Pair, path: Path, has_values: bool) -> ParameterLog:
    """The changes in a JSON file, or in the result of an analysis. ParameterError if there are none."""
    if has_values:
        raise ParameterError("parameter_log has the parameters at the start: give no others")
    try:
        if path.suffix == ".h5":
            import h5py

            with h5py.File(path) as file:
                text = file["_analysis/parameter_log"].asstr()[()]
        else:
            text = path.read_text()
    except (OSError, KeyError, UnicodeDecodeError, TypeError) as error:
        raise ParameterError(f"parameter_log: {path} has no list of changes of parameters: {error}") from error
    return ParameterLog.from_json(pair.described, str(text))
