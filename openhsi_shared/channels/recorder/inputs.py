"""Channels as a recorder of rows takes them: their columns, and what an update of one becomes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.times import Clock
from openhsi_shared.channels.channel import Channel
from openhsi_shared.errors import ArgumentError, UnknownKeyword
from openhsi_shared.given_numbers import is_number, is_whole
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.clocks import ClockFit
from openhsi_shared.matching.states import State
from openhsi_shared.near_names import nearest_name
from openhsi_shared.roi import find_roi, find_roi_slice, profiles

__all__ = ["KEYWORDS", "ImageOptions", "Region", "RowInput", "row_inputs"]

logger = safe_logger(__name__)

FIT_INTERVAL_NS = 10**9
INVALID = 3
"""Alarm severity of EPICS, which is the quality of its updates."""
OPTIONS = ("shape", "threshold", "expand")
KEYWORDS = (
    "maxlen", "matching_maxlen", "timestamp_threshold", "reference", "match", "settle_s", "compat", "id_mask",
)  # fmt: skip


class ImageOptions(NamedTuple):
    """How images are cut out."""

    shape: tuple[int, int] | None = None
    """(rows, columns) of images that arrive flat."""
    threshold: float | None = 0.2
    """See `find_roi_slice`; None: the whole image is kept."""
    expand: tuple[int, int] = (20, 10)
    """Pixels that a region is enlarged by: rows, columns."""


class Region(NamedTuple):
    """The lit part of an image: a copy of its own, read-only."""

    pixels: NDArray[Any]
    start: tuple[int, int]
    """Row and column of its first pixel."""
    centre: tuple[float, float]
    """Centre of its light, row and column of the whole image; NaN if nothing is lit."""


class RowInput:
    """A channel, and how its values are stored in rows."""

    def __init__(self, channel: Channel, image: ImageOptions | None, is_compat: bool) -> None:
        self.channel, self.image, self.is_compat = channel, image, is_compat
        self.name = channel.name
        fields = channel.fields
        self.columns = [self.name] if channel.properties.is_single else [f"{self.name}_{one.name}" for one in fields]
        """Names of its columns; of an image one, and beside it "<name> start" and "<name> centre"."""
        if image is not None and len(self.columns) > 1:
            raise ArgumentError(f"channel {self.name!r} is an image with several fields: it can have one")
        self.state = State.ENDED
        """Of the source."""
        self.description: dict[str, Any] = {}
        """What the source says of itself."""
        self.image_shape = None if image is None else image.shape
        """Rows and columns of the whole image, of the newest one; None before the first."""
        self.n_refused = self.n_squashed = 0
        self.n_put = self.n_taken = 0
        """Updates that were put into the queue, by the source's thread, and taken from it, by the recorder's."""
        self._next_log = 0.0
        self._fit, self._offset_ns, self._offset_from_ns = ClockFit(), 0, -(2**63)
        if channel.properties.clock not in ("given", "fit"):
            raise ArgumentError(
                f"channel {self.name!r}: clock={channel.properties.clock!r} is for cubes; "
                "in a recorder it can be 'given' or 'fit'"
            )

    @property
    def units(self) -> dict[str, str]:
        """Units of its columns, where they are known."""
        found = {}
        for column, one in zip(self.columns, self.channel.fields, strict=True):
            unit = one.unit or one.unit_as_given or self.description.get("unit")
            if unit:
                found[column] = str(unit)
        return found

    def accept(self, value: Any, quality: int) -> Any:
        """As `prepare`; None for what cannot be used, which is counted."""
        if quality >= INVALID:
            self.refuse("its alarm severity is INVALID")
            return None
        try:
            return self.prepare(value)
        except (ArgumentError, TypeError, ValueError) as error:
            self.refuse(f"{value!r:.60}: {error}")
            return None

    def refuse(self, why: str, n: int = 1) -> None:
        """Count updates that cannot be used; logged once a second at most."""
        self.n_refused += n
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + 1.0
            logger.warning("channel %r: update refused, %d until now: %s", self.name, self.n_refused, why)

    def time_ns(self, stamp_ns: int | None, arrival_ns: int, clock: Clock) -> int:
        """Time of an update, UTC in ns: its stamp and the channel's `clock_offset_s`, or its arrival less latency.

        With clock="fit", the offset of the source's clock is taken out, as it is known once a second.
        """
        properties, now_ns = self.channel.properties, clock.wall_ns(arrival_ns)
        arrived_ns = now_ns - round(properties.latency_s * 1e9)
        if stamp_ns is None or properties.stamp == "arrival":
            return arrived_ns
        stamp_ns += round(properties.clock_offset_s * 1e9)
        if properties.clock != "fit":
            return stamp_ns
        self._fit.add(stamp_ns, arrived_ns)
        if not self._offset_from_ns <= now_ns < self._offset_from_ns + FIT_INTERVAL_NS:
            self._offset_ns, self._offset_from_ns = int(self._fit.offset_ns(arrived_ns)), now_ns
        return stamp_ns - self._offset_ns

    def fill(self, columns: dict[str, Any], value: Any) -> None:
        """Set the columns of a row to what `prepare` has returned; 0 of a slot that has received no update."""
        if isinstance(value, Region):
            columns[self.name] = value.pixels
            columns[f"{self.name} start"], columns[f"{self.name} centre"] = value.start, value.centre
        elif self.image is not None:
            columns |= {self.name: value, f"{self.name} start": (0, 0), f"{self.name} centre": (np.nan, np.nan)}
        elif isinstance(value, list):
            columns |= dict(zip(self.columns, value, strict=True))
        else:
            columns |= dict.fromkeys(self.columns, value)

    def prepare(self, value: Any) -> Any:
        """What is stored of a value: a number, several, or a Region. ValueError, TypeError for what cannot be used."""
        if self.image is not None:
            return self._region(np.asarray(value))
        if len(self.columns) == 1:
            if isinstance(value, list | tuple | np.ndarray):
                (value,) = value  # of one element
            return float(value)
        values = [float(one) for one in value]
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} numbers, expected {len(self.columns)}")
        return values

    def _region(self, image: NDArray[Any]) -> Region:
        options = self.image or ImageOptions()
        if image.dtype.kind not in "biuf":
            raise TypeError(f"an image of {image.dtype}, expected numbers")
        if options.shape is not None and image.shape != options.shape:
            image = image.reshape(options.shape)
        elif image.ndim != 2:
            raise ValueError(f"an image of shape {image.shape}: give shape=[rows, columns]")
        self.image_shape = (image.shape[0], image.shape[1])
        if self.is_compat:
            return self._compat_region(image, options)
        of_rows, of_columns = profiles(image)
        if options.threshold is None:
            found = (slice(0, image.shape[0]), slice(0, image.shape[1]))
        else:
            parts = zip((of_rows, of_columns), options.expand, strict=True)
            rows, columns = (find_roi_slice(part, options.threshold, enlarge) for part, enlarge in parts)
            if rows is None or columns is None:
                return _own(image[:0, :0], (0, 0), (np.nan, np.nan))
            found = (rows, columns)
        centre = (_centre(of_rows, found[0]), _centre(of_columns, found[1]))
        return _own(image[found], (found[0].start, found[1].start), centre)

    def _compat_region(self, image: NDArray[Any], options: ImageOptions) -> Region:
        threshold = 0.2 if options.threshold is None else options.threshold
        found = find_roi(image, threshold, options.expand, compat=True)
        if found is None:
            return _own(image[:0, :0], (0, 0), (np.nan, np.nan))
        of_rows, of_columns = profiles(image)
        centre = (_centre(of_rows, found[0]), _centre(of_columns, found[1]))
        return _own(image[found].T, (found[0].start, found[1].start), centre)


def _own(part: NDArray[Any], start: tuple[int, int], centre: tuple[float, float]) -> Region:
    pixels = part.copy()  # a view would keep the whole image in memory
    pixels.setflags(write=False)
    return Region(pixels, start, centre)


def _centre(profile: NDArray[Any], part: slice) -> float:
    """Centre of what is above the least value of the part; in pixels of the whole profile."""
    values = np.asarray(profile[part], np.float64)
    values = values - values.min() if values.size else values
    total = values.sum()
    return float(part.start + values @ np.arange(values.size) / total) if total > 0 else float("nan")


def row_inputs(channels: Mapping[str, Any] | None, more: Mapping[str, Any], is_compat: bool) -> list[RowInput]:
    """The channels of a recorder, in their order. ArgumentError, UnknownKeyword for what is none."""
    if channels is not None and not isinstance(channels, Mapping):
        raise ArgumentError(f"channels must be a mapping from names to channels, got {type(channels).__name__}")
    both = set(channels or {}) & set(more)
    if both:
        raise ArgumentError(f"channel {min(both)!r} is given twice, in channels and as a keyword")
    inputs = [
        _input(name, given, is_compat, name in more) for name, given in [*(channels or {}).items(), *more.items()]
    ]
    if not inputs:
        raise ArgumentError("a recorder needs at least one channel: channels={'HSI:temp': None}, for example")
    taken: dict[str, str] = {"timestamp": "rows", "time_ns": "rows", "valid": "rows"}
    for one in inputs:
        extra = [f"{one.name} start", f"{one.name} centre"] if one.image is not None else []
        for column in (*one.columns, *extra):
            if column in taken:
                raise ArgumentError(
                    f"channel {one.name!r}: {taken[column]} have a column {column!r} already: rename it"
                )
            taken[column] = f"channel {one.name!r}"
    return inputs


def _input(name: str, given: Any, is_compat: bool, is_keyword: bool) -> RowInput:
    from openhsi_shared.channels.addresses import channels_from, keywords_of
    from openhsi_shared.channels.epics import EpicsChannel

    if isinstance(given, Mapping) and "source" not in given:
        return RowInput(EpicsChannel(name, kind="image"), _image_options(name, given), is_compat)
    if isinstance(given, Mapping):  # a table, as in a TOML file
        options = {key: given[key] for key in OPTIONS if key in given}
        of_channel = keywords_of(given["source"]) if isinstance(given["source"], str) else set(given)
        for key in given.keys() - {"source", *OPTIONS, *of_channel}:
            raise UnknownKeyword(f"channel {name!r} has no keyword {key!r}{nearest_name(key, [*OPTIONS, *of_channel])}")
        # `shape` may be of both
        table = {key: value for key, value in given.items() if key not in OPTIONS or key in of_channel}
        channel = channels_from({name: table | ({"kind": "image"} if options else {})})[name]
        is_image = channel.properties.kind == "image"
        return RowInput(channel, _image_options(name, options) if is_image else None, is_compat)
    if given is None:
        return RowInput(EpicsChannel(name), None, is_compat)
    if not isinstance(given, str | Channel):
        near = nearest_name(name, KEYWORDS)
        words = f"{name}={given!r:.60} is neither a keyword of a recorder{near} nor a channel"
        expected = "expected None, {'shape': [rows, columns], ...}, a Channel, or a text such as 'pva:NAME'"
        raise (UnknownKeyword if is_keyword else ArgumentError)(f"{words}: {expected}")
    channel = channels_from({name: given})[name]
    is_image = channel.properties.kind == "image"
    return RowInput(channel, ImageOptions(shape=getattr(channel, "shape", None)) if is_image else None, is_compat)


def _image_options(name: str, given: Mapping[str, Any]) -> ImageOptions:
    unknown = [key for key in given if key not in OPTIONS]
    if unknown:
        near = nearest_name(str(unknown[0]), OPTIONS)
        raise UnknownKeyword(f"image {name!r}: no option {unknown[0]!r}{near}; there are {', '.join(OPTIONS)}")
    shape, expand = given.get("shape"), given.get("expand", ImageOptions().expand)
    threshold = given.get("threshold", ImageOptions().threshold)
    if shape is not None and not _are_two(shape, 1):
        raise ArgumentError(f"image {name!r}: shape must be [rows, columns], got {shape!r}")
    if not _are_two(expand, 0):
        raise ArgumentError(f"image {name!r}: expand must be two numbers of pixels, [rows, columns], got {expand!r}")
    if threshold is not None and not (is_number(threshold) and 0 <= threshold < 1):
        raise ArgumentError(f"image {name!r}: threshold must be from 0 to below 1, or None, got {threshold!r}")
    return ImageOptions(None if shape is None else (shape[0], shape[1]), threshold, (expand[0], expand[1]))


def _are_two(value: Any, least: int) -> bool:
    if not isinstance(value, Sequence) or len(value) != 2:
        return False
    return all(is_whole(one) and one >= least for one in value)
