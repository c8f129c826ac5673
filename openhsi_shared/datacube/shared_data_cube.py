"""The double-buffered datacube: `put` adds lines, `save` hands full cubes to the writer without blocking."""

import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.buffers.times import Anchor
from openhsi_shared.calibration import Calibration
from openhsi_shared.capture.cube_clock import CubeClock
from openhsi_shared.capture.slot_filler import SlotFiller
from openhsi_shared.datacube.displaying import Displaying
from openhsi_shared.datacube.engine import PATIENCE_S, CubeEngine
from openhsi_shared.datacube.keywords import CameraKeywords, hosted, read_keywords
from openhsi_shared.datacube.labelling import Labeller
from openhsi_shared.datacube.references_in_force import ReferencesInForce
from openhsi_shared.datacube.retained_cubes import RetainedCubes
from openhsi_shared.datacube.saturation import saturation_of
from openhsi_shared.datacube.saving_later import save_kept
from openhsi_shared.errors import ArgumentError, ChannelError, OpenHSIError, SettingsError
from openhsi_shared.levels import Functions
from openhsi_shared.loggers import safe_logger
from openhsi_shared.masked import unmasked
from openhsi_shared.processes.interpreter import require_processes
from openhsi_shared.settings import SettingsMapping
from openhsi_shared.writer.final_rescue import Rescued
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import Label
from openhsi_shared.writer.save_request import SaveRequest

__all__ = ["SharedDataCube"]

logger = safe_logger(__name__)


class SharedDataCube(Displaying):
    """A datacube in two or more shared-memory slots: one is filled while the others are saved.

    `put` copies a line into the slot being filled, `save` swaps the slots, and a spawned process writes the full one.
    The writer is started with the first line. Use it in a `with` block, or call `close`: both wait for the last file.
    """

    _groups_from = ""
    """The saved cube that the lines come from, if any: its groups are copied."""
    _replayed_from = ""
    """The saved cube, or folder of cubes, that is replayed, if any: its channels are matched to the lines."""

    def __init__(
        self,
        n_lines: int = 16,
        processing_lvl: int = -1,
        json_path: str | Path | None = None,
        cal_path: str | Path | None = None,
        print_settings: bool = False,
        **keywords: Any,
    ) -> None:
        """Allocate the slots, which takes 2 s per GB.

        `n_lines` per cube, `processing_lvl` from -1 (raw) to 8 (reflectance; see `openhsi_shared.levels`), `json_path`
        and `cal_path` (or `pkl_path`) are the files of settings and calibration. `compat="openhsi"` computes levels as
        openhsi does, `custom_tfms` are functions from frame to frame that are run instead. Further keywords: those of
        `SaveOptions` (n_buffers, when_full, compression, compression_level, durability, writers, fallback_dirs,
        embed_references) and every key of a settings file, which overrides the file. `channels` are matched to the
        lines: a mapping of names to Channels or texts, or a TOML file; before the first line, each required one has
        `connect_timeout_s` (5) to deliver a sample. `references` are saved with the cubes: files of `take_reference`,
        {"dark": path, "white": path}, or a folder, whose `references` has them. Raises SettingsError, CalibrationError,
        LevelError, ArgumentError, UnknownKeyword, FileError or ReferenceRefused for the references, or
        MemoryShortage.
        """
        self._keywords = {
            "n_lines": n_lines,
            "processing_lvl": processing_lvl,
            "json_path": json_path,
            "cal_path": cal_path,
            "print_settings": print_settings,
            **keywords,
        }
        self._changed_settings: dict[str, Any] = {}
        self._cube_clock = CubeClock()
        self._references = ReferencesInForce()
        self._life_lock = threading.RLock()
        """Held by `close` and `reinitialise`: one of them at a time."""
        self._configure()

    # ---- construction ----

    def _configure(self) -> None:
        """Set everything up by the keywords, which are kept for `reinitialise`."""
        require_processes(of_camera=True)
        keywords = read_keywords(self._keywords, self._source_keywords(), type(self).__name__, self._changed_settings)
        self.n_lines, self.processing_lvl = keywords.n_lines, keywords.processing_lvl
        self.compat, self.custom_tfms = keywords.compat, keywords.custom_tfms
        self.json_path, self.cal_path = keywords.json_path, keywords.cal_path
        self.settings = SettingsMapping(keywords.settings, self._apply_setting)
        self.calibration: Calibration = keywords.calibration
        self._calibration_sha256 = keywords.calibration_sha256
        frame_shape, frame_dtype = self._open_source(keywords.source_options)
        try:
            self._make_slots(frame_shape, frame_dtype, keywords)
        except BaseException:
            self._close_source()
            raise
        self.settings.begin()
        if keywords.print_settings:
            logger.info("settings: %s", self.settings)

    def _make_slots(self, frame_shape: tuple[int, int], frame_dtype: np.dtype[Any], keywords: CameraKeywords) -> None:
        if keywords.channels and self._groups_from:
            raise ArgumentError(
                f"{type(self).__name__} has no channels=: the lines were recorded before, and keep the channels of "
                f"{self._groups_from}; match_channels matches them to other series"
            )
        self._make_plan(frame_shape, frame_dtype)
        self.wavelengths_nm: NDArray[Any] | None = self._wavelengths()
        self._engine = CubeEngine(
            self.n_lines,
            self._plan,
            keywords.options,
            self.wavelengths_nm,
            type(self).__name__,
            self._groups_from,
            self._cube_clock,
            channels=hosted(keywords),
            connect_timeout_s=keywords.connect_timeout_s,
            replayed_from=self._replayed_from,
            is_averaged=self._average is not None,
            saturation=saturation_of(self._plan, self.settings.model, self._average),
        )
        about = {"n_lines": self.n_lines, "processing_lvl": self.processing_lvl, "level_arithmetic": self._arithmetic}
        if self._plan.is_mask:
            about["pixel_type"] = "bool: 0 is false, 1 is true"
        if self._average is not None:
            about["average"] = self._average
        about |= dict.fromkeys(self.settings.not_known)
        if self._calibration_sha256:
            about["calibration_sha256"] = self._calibration_sha256
        about["camera"] = type(self).__name__
        self._labeller = Labeller(about, self._source_metadata(), self._references)
        try:
            self._references.use_given(self._keywords.get("references"), keywords.references, self._attributes())
        except BaseException:
            self._engine.close()
            raise
        self._finalizer = weakref.finalize(self, self._engine.drop, type(self).__name__)
        self._finalizer.atexit = False  # then it is `finish_at_exit` that does it

    @property
    def _average(self) -> int | None:
        """How many frames are averaged to one line; None: none are."""
        average = self._keywords.get("average")
        return None if average is None else int(average)

    def _source_keywords(self) -> set[str]:
        """Keywords of the source, which are neither settings nor keywords of the cube."""
        return set()

    def _open_source(self, options: Mapping[str, Any]) -> tuple[tuple[int, int], np.dtype[Any]]:
        """Open the source; returns shape and type of its frames."""
        del options  # for sources that have options
        settings = self.settings.model
        if settings.resolution is None:
            raise SettingsError(
                f"resolution is missing in {self.json_path or 'the settings'}: expected [rows, columns] of a frame, "
                "in the file of json_path or as the keyword resolution=(rows, columns)"
            )
        return settings.resolution, settings.dtype_in

    def _close_source(self) -> None:
        """Undo `_open_source`."""

    def _wavelengths(self) -> NDArray[Any] | None:
        """Wavelength of each band of a line, or None if unknown."""
        return self._plan.wavelengths_nm

    def _source_metadata(self) -> Mapping[str, Any]:
        """Metadata of the source for the files, unless the user's metadata overrides it."""
        return {}

    def _apply_setting(self, key: str, value: Any) -> None:  # noqa: ARG002 - cameras want the value
        """Called when a user sets `settings[key]`."""
        if key == "exposure_ms":
            self._use_exposure()

    # ---- operations ----

    def put(self, x: ArrayLike) -> None:
        """Make the frame `x`, (cross-track, wavelength), the next line; beyond `n_lines` it overwrites the oldest.

        FrameError if its shape is wrong, its values do not fit, or integers are masked; masked floats are NaN.
        ReentryError from a signal handler of a thread that is filling a line. If no slot is free: see `when_full`.
        """
        frame = unmasked(x)
        self._plan.check(frame)
        engine = self._engine
        engine.start()
        engine.turn.line(self._put, engine.filler, frame)

    def _put(self, filler: SlotFiller, frame: NDArray[Any]) -> None:
        line = filler.next_line()
        frame_id = filler.ledger.next_id
        if line is None:
            filler.lose(frame_id)
            return
        self._plan.apply(frame, line)
        filler.commit(frame_id, time.monotonic_ns(), None, self._temperature())

    def save(
        self,
        save_dir: str | Path,
        preconfig_meta_path: str | Path | None = None,
        prefix: str = "",
        suffix: str = "",
        old_style: bool = True,
        savefig: bool = True,
    ) -> SaveHandle:
        """Close the cube; the writer saves it as `save_dir/%Y_%m_%d/{prefix}%Y_%m_%d-%H_%M_%S_%f{suffix}.nc`.

        Returns at once, in much less than a line period; the next line goes into the next slot. The handle is done when
        the file and, with `savefig`, its preview are written. `old_style=True` orders the cube (x, y, wavelength),
        False (wavelength, x, y), which takes longer. `preconfig_meta_path` is a JSON file of metadata for the file's
        attributes. Within a line of the same thread, as from a signal handler, it takes effect after that line. After a
        `with` block it saves, and blocks, what was not saved. Raises NothingToSave, ClosedError, or SettingsError
        for metadata that cannot be read. A directory that cannot be written is reported by the handle.
        """
        return self.save_with({}, SaveRequest(save_dir, preconfig_meta_path, prefix, suffix, old_style, savefig))

    def save_with(self, attributes: Mapping[str, Any], request: SaveRequest) -> SaveHandle:
        """`save`, with more attributes for the file. Raises NothingToSave, ClosedError, SettingsError."""
        label, engine = self._label(attributes, request), self._engine
        return save_kept(engine, self._plan, label) if engine.is_closed else engine.save(label)

    def _label(self, attributes: Mapping[str, Any], request: SaveRequest) -> Label:
        return self._labeller.label(self.settings.model, attributes, request)

    def retained_cubes(self, keep_s: float) -> RetainedCubes:
        """Its cubes when they are full, if they are to stay in their slots, for `keep_s` if there are enough."""
        return RetainedCubes(self._engine, self._label, keep_s)

    def _attributes(self) -> dict[str, Any]:
        """What files say about the camera and its settings now."""
        return self._labeller.attributes(self.settings.model, {})

    def join(self, name: str, anchor: Anchor, joint_id: str) -> None:
        """Make this one of several cameras that record together: files contain its name, and the id of all of them.

        Times are by their common anchor. To be called before the first line.
        """
        self._labeller.add(joint_name=name, joint_id=joint_id)
        self._cube_clock.restart(anchor)

    def use_references_in(self, directory: str | Path) -> None:
        """Save cubes with the newest references in the folder `references` of `directory`, if they fit.

        Not those of a kind that is in use already. One that does not fit, or cannot be read, is a warning.
        """
        self._references.use_newest(Path(directory))

    def will_save_to(self, *where: Any, **how: Any) -> None:
        """Set where cubes are to be saved if this process dies before it calls `save`, with the arguments of `save`."""
        self.will_save(SaveRequest(*where, **how))

    def will_save(self, request: SaveRequest, attributes: Mapping[str, Any] | None = None) -> None:
        """Set the request for cubes that are not saved yet, and more attributes of their files; see `will_save_to`."""
        self._engine.expect(self._label(attributes or {}, request))

    def reinitialise(self, **keywords: Any) -> None:
        """Recreate slots and settings with these keywords changed. Blocks until pending saves are done.

        Settings that were changed since are kept, unless `keywords` contain them, or another `json_path`. A camera is
        stopped, and the counters of `status` restart; a thread that is collecting gets ClosedError. Lines that were
        collected and not saved are discarded. Raises an unhandled SaveError, and UnknownKeyword, ArgumentError or
        SettingsError for invalid keywords; then nothing has changed.
        """
        changed = {key: value for key, value in self._changed_settings.items() if key in self.settings}
        before = self._keywords, changed | self.settings.changed()
        changed = {} if "json_path" in keywords else before[1]
        after = before[0] | keywords, {key: value for key, value in changed.items() if key not in keywords}
        read_keywords(after[0], self._source_keywords(), type(self).__name__, after[1])
        with self._life_lock:
            with self._engine.closing(self._patience_s):  # else this would never end while others continue to save
                self._engine.settle()
                self._close_all(keep=False)
            self._keywords, self._changed_settings = after
            try:
                self._configure()
            except BaseException:
                self._keywords, self._changed_settings = before
                self._configure()
                raise

    def set_processing_lvl(self, lvl: int = -1, custom_tfms: Functions | None = None) -> None:
        """Make lines of another level from now on; see `reinitialise`."""
        self.reinitialise(processing_lvl=lvl, custom_tfms=custom_tfms)

    # ---- shutdown ----

    def close(self) -> None:
        """Wait until every save is done, and release all resources. Idempotent.

        Raises a SaveError that was not handled by calling `result`. Unsaved lines are discarded, with a warning; up to
        1 GiB of them stay visible. A thread that is collecting gets ClosedError.
        """
        with self._life_lock:
            self._close_all()

    def _close_all(self, keep: bool = True, rescue: BaseException | None = None) -> None:
        with self._engine.closing(self._patience_s):
            self._close_source()
            self._engine.close(rescue, keep)
        self._finalizer.detach()

    @property
    def _patience_s(self) -> float:
        """How long to wait for a line that another thread fills: a little longer than for a frame."""
        return PATIENCE_S + 0.01 * self._known_exposure_ms

    def abandon(self, *, camera_hangs: bool = False) -> Rescued:
        """Close; cubes that could not be saved are rescued. If the `camera_hangs`, this process must end afterwards."""
        if camera_hangs:  # the thread that hangs has the turn of the line
            return self._engine.rescue_beside_hung_camera()
        self._engine.turn.refuse_others()
        self._close_source()
        self._engine.shutdown(crashed=False)
        self._finalizer.detach()
        return self._engine.rescued

    def __enter__(self) -> Self:
        try:
            self._engine.start()
        except ChannelError:  # `__exit__` is not called
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            with self._life_lock, self._engine.closing(self._patience_s):
                self._close_source()
                self._engine.saves_later = True
                self._engine.save_rest()
                self.close()
            return
        with self._engine.closing(self._patience_s):
            self._close_source()
            try:
                self._engine.close(rescue=error)
            except (OSError, OpenHSIError) as failure:
                error.add_note(f"while closing after this error: {failure}")

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled: two of them would fill the same memory."""
        raise ArgumentError(
            f"a {type(self).__name__} cannot be pickled or copied, its shared memory has one owner: "
            "make it where it is used, or give its class to record()"
        )

    def __repr__(self) -> str:
        rows, n_lines, bands = self.dc_shape
        cube = f"{rows} x {n_lines} lines x {bands} {self.dtype_out}, level {self.processing_lvl}"
        return f"{type(self).__name__}({cube}, {self.n_collected} collected)"
