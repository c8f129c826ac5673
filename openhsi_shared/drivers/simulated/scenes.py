"""Reads a picture as a scene: 8 bits in RGB, those of more bits scaled by their own range."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import FileError
from openhsi_shared.paths import given_path

__all__ = ["read_picture"]

GDAL_NODATA = 42113
"""Tag of a TIFF: the text of the number that stands for a missing pixel."""
OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""Pillow stores only the upper byte of colours of 16 bits: in the other byte order, that is the lower one."""


def read_picture(path: str | Path, n_rows: int) -> tuple[NDArray[np.uint8], str]:
    """Read a picture that Pillow supports as (n_rows, along-track, RGB), keeping its aspect. FileError if invalid.

    Numbers of more than 8 bits are scaled from their own range to 0 to 255, missing ones become 0; also return how, or
    an empty text.
    """
    from PIL import Image

    try:
        rgb, scaling = _as_rgb(given_path(path, "img_path"))
        if rgb.height != n_rows:
            rgb = rgb.resize((max(1, round(rgb.width * n_rows / rgb.height)), n_rows), Image.Resampling.LANCZOS)
        return np.asarray(rgb, np.uint8), scaling
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileError(
            f"img_path {str(path)!r} is not a readable picture: {error}; expected a PNG, JPEG or TIFF"
        ) from error


def _as_rgb(path: Path) -> tuple[Any, str]:
    """Convert to 8 bits in RGB; Pillow would clip numbers of more bits, or cut them off."""
    from PIL import Image

    with Image.open(path) as image:
        values: NDArray[Any]
        mode = image.mode
        if raw_modes := _modes_of_16_bits(image):
            mode = raw_modes[0]
            values = _colours_of_16_bits(path, image)
        elif mode in ("I", "F") or mode.startswith("I;"):
            values = np.asarray(image).astype(np.float64)
        else:
            has_transparent_colour = mode == "P" and "transparency" in image.info
            return (image.convert("RGBA") if has_transparent_colour else image).convert("RGB"), ""
        no_data = str(getattr(image, "tag_v2", {}).get(GDAL_NODATA, "nan")).strip(" \0")
    with suppress(ValueError):  # a text that is no number is equal to none
        values = np.where(values == float(no_data), np.nan, values)
    known = values[np.isfinite(values)]
    if not known.size:
        raise ValueError("it has no finite values")
    low, high = float(known.min()), float(known.max())
    scaled = (values - low) / (high - low) if high > low else np.full(values.shape, float(high > 0))
    eight_bits = np.rint(255 * np.clip(np.nan_to_num(scaled, nan=0.0), 0, 1)).astype(np.uint8)
    return Image.fromarray(eight_bits).convert("RGB"), f"values from {low:g} to {high:g} (mode {mode}) become 0 to 255"


def _modes_of_16_bits(image: Any) -> list[str]:
    """How the parts of a file store colours of 16 bits, such as "RGB;16B"; empty for other files."""
    modes = [tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args for tile in image.tile]
    if image.format == "PPM" and any(isinstance(tile.args, tuple) and tile.args[-1] > 255 for tile in image.tile):
        return [f"{image.mode} of PPM"] if image.mode == "RGB" else []
    is_colour = image.mode in ("RGB", "RGBA", "RGBX", "CMYK", "LA")
    return [mode for mode in modes if isinstance(mode, str) and ";16" in mode] if is_colour else []


def _colours_of_16_bits(path: Path, image: Any) -> NDArray[np.float64]:
    """All bits of red, green and blue: (rows, columns, 3). ValueError where Pillow can only give the upper 8."""
    from PIL import Image

    mode = _modes_of_16_bits(image)[0]
    refused = ValueError(f"Pillow would read only 8 of its 16 bits ({mode}): save it with 8 bits, or as 16 bits in RGB")
    if mode[:-4] not in ("RGB", "RGBA", "RGBX") or mode[-3:] not in OTHER_BYTE:
        raise refused
    with Image.open(path) as other:
        other.tile = [
            tile._replace(args=_with_mode(tile.args, mode[:-3] + OTHER_BYTE[mode[-3:]])) for tile in other.tile
        ]
        try:
            lower = np.asarray(other)[..., :3].astype(np.float64)
        except ValueError:
            raise refused from None
    upper = np.asarray(image)[..., :3]
    return 256.0 * upper + lower


def _with_mode(args: Any, mode: str) -> Any:
    return (mode, *args[1:]) if isinstance(args, tuple) else mode
