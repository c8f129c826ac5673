"""The options of an analysis that runs beside a recording, checked before the camera starts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameter_files import parameters_of
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.control.analysis_status import Mode
from openhsi_shared.errors import AnalysisError, ArgumentError
from openhsi_shared.given_numbers import is_number, is_whole
from openhsi_shared.processes.spawning import pack, unpack

__all__ = ["Analysis", "analyses_from"]

MODES: Mapping[Any, Mode] = {True: "lossless", False: "tap", "best_effort": "best_effort"}
NAME = re.compile(r"[\w.-]{1,40}")


@dataclass(frozen=True)
class Analysis:
    """A worker and a reducer for every line of a recording; see `record`.

    AnalysisError for classes that do not fit, ParameterError for parameters, ArgumentError for other options,
    OpenHSIError for classes that cannot be sent to another process.
    """

    worker: type | str
    """A class, or "module:Class"."""
    reducer: type | str | None = None
    """The same; None: results are counted only."""
    _: KW_ONLY
    parameters: Mapping[str, Any] | str | Path | None = None
    """Values by name, or the path of a file of parameters."""
    lossless: bool | Literal["best_effort"] = False
    """True: no slot is used again before its lines are processed. "best_effort": while another slot is free. False: it
    works on the newest lines and holds no slot."""
    n_workers: int = 1
    """Processes that work."""
    per: Literal["recording", "cube"] = "recording"
    """For what worker and reducer are made again."""
    ordered: bool = False
    """The reducer gets results in the order of events."""
    on_error: Literal["log", "raise"] = "log"
    """What an event that fails does: it is counted and logged, or it ends the analysis; never the recording."""
    port: int | None = None
    """Of the HTTP server; 0 for any free one, None for no server."""
    name: str | None = None
    """Unique in a recording; by default the name of the worker's class."""
    stream: str = "lines"
    """Name of the stream of lines in an event."""
    niceness: int = 5
    """By how much its processes have a lower priority than the recording."""
    patience_s: float = 30.0
    """A process of it that makes no progress for so long is replaced, or ended."""
    debug: bool = False
    """Overwrite each event behind the worker, which finds views that it keeps."""
    packed: bytes = field(init=False, repr=False, compare=False)
    """Pair and parameters: the process of the recording does not import the classes."""

    def __post_init__(self) -> None:
        self._check()
        pair = Pair.of(self.worker, self.reducer)
        name = self.name or pair.worker_name.rpartition(":")[2].rpartition(".")[2]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ArgumentError(f"name of an analysis: expected up to 40 letters, digits, '_', '-', '.', got {name!r}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "packed", pack((pair, parameters_of(pair.described, self.parameters))))

    def _check(self) -> None:
        for option, given, allowed in (
            ("lossless", self.lossless, list(MODES)),
            ("per", self.per, ["recording", "cube"]),
            ("on_error", self.on_error, ["log", "raise"]),
        ):
            if not any(given is one or (isinstance(one, str) and given == one) for one in allowed):
                raise ArgumentError(f"{option} must be one of {allowed}, got {given!r}")
        for option, value, low, high in (
            ("n_workers", self.n_workers, 1, 256),
            ("port", 0 if self.port is None else self.port, 0, 65535),
            ("niceness", self.niceness, 0, 19),
        ):
            if not is_whole(value) or not low <= value <= high:
                raise ArgumentError(f"{option} must be a whole number from {low} to {high}, got {value!r}")
        for option in ("ordered", "debug"):
            if not isinstance(getattr(self, option), bool):
                raise ArgumentError(f"{option} must be True or False, got {getattr(self, option)!r}")
        if not is_number(self.patience_s) or not self.patience_s > 0:
            raise ArgumentError(f"patience_s must be a number of seconds > 0, got {self.patience_s!r}")
        for option in ("n_workers", "port", "niceness"):
            if getattr(self, option) is not None:
                object.__setattr__(self, option, int(getattr(self, option)))
        object.__setattr__(self, "patience_s", float(self.patience_s))

    def __getstate__(self) -> dict[str, Any]:
        """Without the classes, which are packed."""
        return {**self.__dict__, "worker": "", "reducer": None, "parameters": None}

    @property
    def mode(self) -> Mode:
        """How it reads the slots."""
        return MODES[self.lossless]

    def unpacked(self) -> tuple[Pair, Parameters]:
        """Pair and parameters, in a process that may import the classes."""
        pair, parameters = unpack(self.packed)
        return pair, parameters


def analyses_from(given: Any) -> tuple[Analysis, ...]:
    """Return what `record(analyse=)` means: an Analysis, a worker, (worker, reducer), or a list of these."""
    if given is None:
        return ()
    found = [_analysis_from(one) for one in (given if isinstance(given, list) else [given])]
    names = [analysis.name for analysis in found]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"{names.count(name)} analyses have the name {name!r}: give each Analysis a name=")
    return tuple(found)


def _analysis_from(given: Any) -> Analysis:
    if isinstance(given, Analysis):
        return given
    pair: Sequence[Any] = given if isinstance(given, tuple) else (given,)
    if 1 <= len(pair) <= 2 and all(isinstance(of, type | str) for of in pair):
        return Analysis(*pair)
    raise AnalysisError(f"analyse: expected Analysis(...), (Worker, Reducer) or a list of these, got {given!r}")
