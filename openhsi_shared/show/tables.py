"""HTML tables with a thumbnail, which a notebook shows for a camera or an opened cube."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import OpenHSIError, PackageMissing
from openhsi_shared.line_times import known_times, utc_of
from openhsi_shared.rgb import Lines, mean_of_bands, picture, preview_bands

__all__ = ["table", "table_of_camera", "table_of_cube", "thumbnail"]

THUMBNAIL_PIXELS = (480, 240)
"""Approximate maximum size, along-track and cross-track."""


class ShownStatus(Protocol):
    """Interface of a status that a table uses."""

    def rows(self) -> Sequence[tuple[str, str]]:
        """Names and values."""


class ShownCamera(Protocol):
    """Interface of a camera that a table uses."""

    processing_lvl: int
    wavelengths_nm: NDArray[Any] | None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings, with `exposure_ms`."""

    @property
    def dc_shape(self) -> tuple[int, int, int]:
        """(cross-track, along-track, wavelength) of a full cube."""

    @property
    def dtype_out(self) -> np.dtype[Any]:
        """Data type of the lines."""

    def status(self) -> ShownStatus:
        """Current status."""


class ShownCube(Protocol):
    """Interface of an opened cube that a table uses. Values that the file does not contain are None."""

    path: Path
    lines: Any
    """(along-track, cross-track, wavelength), as `openhsi_shared.rgb.Lines`"""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the file."""

    @property
    def level(self) -> int | None:
        """Processing level."""

    @property
    def times_ns(self) -> NDArray[np.int64] | None:
        """UTC time of each line."""

    @property
    def frame_ids(self) -> NDArray[Any] | None:
        """Frame id of each line."""

    @property
    def wavelengths_nm(self) -> NDArray[np.float64] | None:
        """Wavelength of each band."""

    @property
    def groups(self) -> Mapping[str, Any]:
        """Groups by name, as `openhsi_shared.files.open_group.OpenGroup`."""

    @property
    def dataset(self) -> Any:
        """The file as an xarray.Dataset."""


def table_of_camera(camera: ShownCamera, lines: Lines | None) -> str:
    """Describe a camera: the current cube, with a thumbnail of its `lines` so far, and the status.

    `lines` is None for a closed camera.
    """
    n_cross, n_lines, n_bands = camera.dc_shape
    exposure_ms = camera.settings["exposure_ms"]
    rows = [
        ("cube", f"{n_cross} x {n_lines} lines x {n_bands} {camera.dtype_out}, level {camera.processing_lvl}"),
        ("exposure", "unknown" if exposure_ms is None else f"{exposure_ms} ms"),
    ]
    if lines is None:
        return table(f"{type(camera).__name__}, closed", [*rows, *camera.status().rows()])
    rows.append(("collected", f"{lines.shape[0]} of {n_lines} lines"))
    image = thumbnail(lines, camera.wavelengths_nm) if lines.shape[0] else None
    return table(type(camera).__name__, [*rows, *camera.status().rows()], image)


def table_of_cube(cube: ShownCube) -> str:
    """Describe a cube, with a thumbnail and xarray's representation. Damage becomes a row; never raises."""
    lines = cube.lines
    n_lines, n_cross, n_bands = lines.shape
    rows = [
        ("along-track", f"{n_lines} lines"),
        ("cross-track", f"{n_cross} pixels"),
        ("wavelength", f"{n_bands} bands"),
        ("pixel", f"{lines.dtype}, {n_lines * n_cross * n_bands * lines.dtype.itemsize / 1e6:,.1f} MB"),
    ]
    image, more = None, ""
    try:
        rows += _metadata_rows(cube)
        rows += [(f"group {one.path}", ", ".join([*one.variables, *one.groups])) for one in cube.groups.values()]
        if 0 not in lines.shape:
            image = thumbnail(lines, cube.wavelengths_nm)
        more = f"<details><summary>dataset</summary>{cube.dataset._repr_html_()}</details>"
    except PackageMissing as error:
        rows.append(("dataset", str(error)))
    except (OpenHSIError, OSError) as error:
        rows.append(("damaged", str(error)))
    return table(cube.path.name, rows, image, more)


def _metadata_rows(cube: ShownCube) -> list[tuple[str, str]]:
    rows = []
    wavelengths, attributes = cube.wavelengths_nm, cube.attributes
    times_ns = known_times([] if cube.times_ns is None else cube.times_ns)
    if wavelengths is not None and len(wavelengths):
        rows.append(("from, to", f"{min(wavelengths):.1f} to {max(wavelengths):.1f} nm"))
    if len(times_ns):
        rows.append(("time", f"{_utc(times_ns[0])} to {_utc(times_ns[-1])} UTC"))
    if cube.frame_ids is not None and len(cube.frame_ids):
        rows.append(("frame ids", f"{int(cube.frame_ids[0])} to {int(cube.frame_ids[-1])}"))
    if cube.level is not None:
        rows.append(("level", str(cube.level)))
    if "lines_lost" in attributes:
        rows.append(("lost", f"{int(attributes['lines_lost'])} lines"))
    return rows


def _utc(time_ns: Any) -> str:
    return utc_of(time_ns).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def thumbnail(lines: Lines, wavelengths_nm: ArrayLike | None) -> NDArray[np.uint8]:
    """Make a thumbnail of lines (along-track, cross-track, wavelength), in the colours of a preview.

    Reads only the lines that it shows. ArgumentError if the number of wavelengths is not that of the bands.
    """
    n_lines, n_cross, n_bands = lines.shape
    step = max(1, -(-n_lines // THUMBNAIL_PIXELS[0]), -(-n_cross // THUMBNAIL_PIXELS[1]))
    means = mean_of_bands(lines, preview_bands(wavelengths_nm, n_bands), step=step)
    return picture(means[:, ::step], robust=None)


def table(title: str, rows: Sequence[tuple[str, str]], image: NDArray[np.uint8] | None = None, more: str = "") -> str:
    """Write HTML: a title, rows of names and values, an inline image, and `more` HTML below."""
    cells = "".join(
        f'<tr><td style="text-align:left;opacity:0.7">{escape(name)}</td>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows
    )
    picture_html = "" if image is None or image.size == 0 else f'<img src="{_inline(image)}" alt="{escape(title)}">'
    return (
        f'<div><b>{escape(title)}</b><div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">'
        f"<table>{cells}</table>{picture_html}</div>{more}</div>"
    )


def _inline(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
