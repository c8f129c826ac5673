"""What a notebook shows of an opened cube: a table, a small picture, and xarray's own words."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from openhsi_shared.errors import OpenHSIError
from openhsi_shared.show import table, thumbnail

if TYPE_CHECKING:
    from openhsi_shared.files.reading import OpenCube

__all__ = ["html_of"]


def html_of(cube: "OpenCube") -> str:
    """Describe a cube in HTML. What is damaged is said in its place; nothing is raised for it."""
    lines: Any = cube.lines
    n_lines, n_cross, n_bands = lines.shape
    rows = [
        ("along-track", f"{n_lines} lines"),
        ("cross-track", f"{n_cross} pixels"),
        ("wavelength", f"{n_bands} bands"),
        ("pixel", f"{lines.dtype}, {n_lines * n_cross * n_bands * lines.dtype.itemsize / 1e6:,.1f} MB"),
    ]
    image, more = None, ""
    try:
        rows += _told(cube)
        rows += [(f"group {one.path}", ", ".join([*one.variables, *one.groups])) for one in cube.groups.values()]
        if lines.shape and 0 not in lines.shape:
            image = thumbnail(lines, cube.wavelengths_nm)
        more = f"<details><summary>dataset</summary>{cube.dataset._repr_html_()}</details>"
    except (OpenHSIError, OSError) as error:
        rows.append(("damaged", str(error)))
    return table(cube.path.name, rows, image, more)


def _told(cube: "OpenCube") -> list[tuple[str, str]]:
    rows = []
    wavelengths, times_ns, attributes = cube.wavelengths_nm, cube.times_ns, cube.attributes
    if wavelengths is not None:
        rows.append(("from, to", f"{min(wavelengths):.1f} to {max(wavelengths):.1f} nm"))
    if times_ns is not None and len(times_ns):
        rows.append(("time", f"{_utc(times_ns[0])} to {_utc(times_ns[-1])} UTC"))
    if cube.frame_ids is not None and len(cube.frame_ids):
        rows.append(("frame ids", f"{int(cube.frame_ids[0])} to {int(cube.frame_ids[-1])}"))
    if cube.level is not None:
        rows.append(("level", str(cube.level)))
    if "lines_lost" in attributes:
        rows.append(("lost", f"{int(attributes['lines_lost'])} lines"))
    return rows


def _utc(time_ns: Any) -> str:
    return datetime.fromtimestamp(int(time_ns) / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
