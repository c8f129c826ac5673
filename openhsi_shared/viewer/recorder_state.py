"""The state of a recorder for its page, taken in the recorder's process; and what the page asks it to do."""

import threading
import time
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.recorder import Recorder
from openhsi_shared.channels.recorder.data import RowData
from openhsi_shared.channels.recorder.files import RowsHandle
from openhsi_shared.errors import ArgumentError, OpenHSIError
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.viewer.recorder_messages import (
    PARTS,
    TIME,
    About,
    Ask,
    Clear,
    Command,
    Estimate,
    Note,
    RegionShown,
    RowsShown,
    Save,
    Shift,
    Start,
    Stop,
)

__all__ = ["Host", "Quantities", "about"]

MAX_ROWS = 2000
"""The newest rows that are shown."""
MAX_SIDE = 400
"""Pixels per side of a region that are sent; of a larger one every second, third ... row and column."""
PAUSE_FACTOR = 9.0
"""A page costs the recorder's process at most a tenth of a processor."""
COUNTS_INTERVAL_S = 0.5


def about(recorder: Recorder) -> About:
    """What does not change."""
    columns = [name for name in recorder.data if name not in ("timestamp", "time_ns", "valid")]
    images = tuple(name for name in columns if f"{name} start" in columns)
    beside = {f"{image} {part}" for image in images for part in ("start", "centre")}
    scalars = tuple(name for name in columns if name not in images and name not in beside)
    path = str(Path.cwd() / "rows.nc")
    return About(tuple(recorder.states), recorder.reference, images, scalars, recorder.maxlen, path)


class _Facts(NamedTuple):
    region: "weakref.ref[NDArray[Any]]"
    height: int
    width: int
    sum: float


class Quantities:
    """Columns of numbers of rows; of regions it remembers the sums."""

    def __init__(self, what: About, is_transposed: bool = False) -> None:
        """`is_transposed`: regions are (columns, rows), those of `compat`."""
        self._about, self._is_transposed = what, is_transposed
        self._known: dict[int, _Facts] = {}

    def of(self, rows: RowData) -> dict[str, NDArray[np.float64]]:
        """All that can be plotted."""
        found = {name: np.asarray(rows[name], np.float64) for name in self._about.scalars}
        known: dict[int, _Facts] = {}
        for image in self._about.images:
            centres = rows[f"{image} centre"]
            facts = [self._facts(region) for region in rows[image]]
            known |= {id(region): one for region, one in zip(rows[image], facts, strict=True)}
            sizes = np.array([one[1:] for one in facts], np.float64).reshape(-1, 3)
            parts = [centres["x"], centres["y"], *sizes.T]
            found |= {f"{image} {part}": values for part, values in zip(PARTS, parts, strict=True)}
        self._known = known
        times_ns = rows["time_ns"]
        found[TIME] = (times_ns - times_ns[-1]) * 1e-9 if len(times_ns) else np.empty(0)
        return found

    def _facts(self, region: Any) -> _Facts:
        known = self._known.get(id(region))
        if known is not None and known.region() is region:
            return known
        if not isinstance(region, np.ndarray):  # of a slot of `compat` that has received no update
            region = np.empty((0, 0))
        height, width = region.shape[::-1] if self._is_transposed else region.shape
        return _Facts(weakref.ref(region), height, width, float(region.sum(dtype=np.float64)))


class Host:
    """Answers one page: the newest state, and what its buttons ask for."""

    def __init__(self, recorder: Recorder) -> None:
        self.about = about(recorder)
        self._recorder = recorder
        self._is_transposed = recorder.snapshot().attributes["match"] == "slots"
        self._quantities = Quantities(self.about, self._is_transposed)
        self._note, self._busy = Note(0, ""), ""
        self._noting = threading.Lock()
        self._saves: list[RowsHandle] = []
        self._due = self._counts_at = float("-inf")
        self._unmatched: dict[str, int] = {}

    def answer(self, child: Child, message: Ask | Command) -> None:
        """Answer a message of the page; commands are carried out in a thread of their own, and may block it."""
        if isinstance(message, Ask):
            time.sleep(max(0.0, self._due - time.monotonic()))
            begun = time.monotonic()
            child.send(self.state())
            self._due = time.monotonic() + PAUSE_FACTOR * (time.monotonic() - begun)
            return
        with self._noting:
            if self._busy:
                return  # its button was pressed before the page knew
            self._busy = type(message).__name__
        GuardedThread(
            self._carry_out,
            message,
            name="recorder page's command",
            failure=f"the page could not carry out {message!r:.100}",
            on_failure=lambda error: self._finish(f"{type(error).__name__}: {error}", is_error=True),
        ).start()

    # ---- state ----

    def state(self) -> RowsShown:
        """The newest one."""
        self._note_saves()
        recorder = self._recorder
        if time.monotonic() - self._counts_at > COUNTS_INTERVAL_S:
            self._unmatched = {name: one.n for name, one in recorder.unmatched.items()}
            self._counts_at = time.monotonic()
        is_running, failure = recorder.is_running, recorder.failure
        rows = recorder.snapshot()
        newest = rows[-MAX_ROWS:]
        return RowsShown(
            is_running=is_running,
            is_full=recorder.full,
            n_rows=rows.n_rows,
            quantities=self._quantities.of(newest),
            regions={image: self._region(newest, image) for image in self.about.images if rows.n_rows},
            rates=dict(recorder.rate),
            unmatched=self._unmatched,
            refused=dict(recorder.refused),
            states={name: state.words for name, state in recorder.states.items()},
            why=recorder.why if is_running else "",
            shifts=dict(rows.attributes["shifts"]),
            newest_ns=int(rows["time_ns"][-1]) if rows.n_rows else 0,
            busy=self._busy,
            note=self._note,
            failure="" if failure is None else f"{type(failure).__name__}: {failure}",
        )

    def _region(self, rows: RowData, image: str) -> RegionShown:
        pixels, start, centre = (rows[name][-1] for name in (image, f"{image} start", f"{image} centre"))
        pixels = np.empty((0, 0)) if not isinstance(pixels, np.ndarray) else pixels.T if self._is_transposed else pixels
        step = max(1, -(-max(pixels.shape) // MAX_SIDE))
        first = (int(start["x"]), int(start["y"]))
        end = (first[0] + pixels.shape[0], first[1] + pixels.shape[1])
        return RegionShown(
            pixels=np.ascontiguousarray(pixels[::step, ::step]),
            start=first,
            size=pixels.shape,
            centre=(float(centre["x"]), float(centre["y"])),
            whole=self._recorder.image_shapes[image] or end,
        )

    # ---- commands ----

    def _carry_out(self, command: Command) -> None:
        try:
            text = self._do(command)
        except OpenHSIError as error:
            self._finish(str(error), is_error=True)
        else:
            self._finish(text)

    def _do(self, command: Command) -> str:
        recorder = self._recorder
        match command:
            case Start():
                recorder.start()
            case Stop():
                recorder.stop()
            case Clear():
                recorder.clear()
            case Save(path):
                if not path.strip():
                    raise ArgumentError("give a path to save the rows as")
                self._saves.append(recorder.save(path.strip()))
                return f"saving {path.strip()}"
            case Shift(column, n):
                recorder.shift(column, n)
            case Estimate(column, other):
                n = recorder.estimate_shift(column, other)
                recorder.shift(column, n)
                return f"{column} correlates best with {other} when it is shifted by {n} rows"
        return ""

    def _finish(self, text: str, is_error: bool = False) -> None:
        with self._noting:
            self._busy = ""
            self._note = Note(self._note.number + 1, text, is_error)

    def _note_saves(self) -> None:
        for handle in [one for one in self._saves if not one.is_alive()]:
            self._saves.remove(handle)
            try:
                saved = handle.result()
            except OpenHSIError as error:
                text, is_error = str(error), True
            else:
                text, is_error = f"saved {saved.n_rows} rows: {saved.path}", False
            with self._noting:
                self._note = Note(self._note.number + 1, text, is_error)
