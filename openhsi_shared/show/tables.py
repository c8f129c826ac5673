"""Small tables with a picture beside them, as HTML for a notebook."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.rgb import Lines, mean_of_bands, picture, preview_bands

__all__ = ["table", "thumbnail"]

THUMBNAIL_PIXELS = (480, 240)
"""Along-track and cross-track, at most, about."""


def thumbnail(lines: Lines, wavelengths_nm: ArrayLike | None) -> NDArray[np.uint8]:
    """Make a small picture of lines (along-track, cross-track, wavelength), in the colours of a preview.

    Reads only the lines that it shows. ArgumentError if the wavelengths are not those of the bands.
    """
    n_lines, n_cross, n_bands = lines.shape
    step = max(1, -(-n_lines // THUMBNAIL_PIXELS[0]), -(-n_cross // THUMBNAIL_PIXELS[1]))
    means = mean_of_bands(lines, preview_bands(wavelengths_nm, n_bands), step=step)
    return picture(means[:, ::step])


def table(title: str, rows: Sequence[tuple[str, str]], image: NDArray[np.uint8] | None = None, more: str = "") -> str:
    """Write HTML: a title, rows of names and values, an image inline; `more` is HTML that stands below."""
    cells = "".join(
        f'<tr><td style="text-align:left;opacity:0.7">{escape(name)}</td>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows
    )
    seen = "" if image is None or image.size == 0 else f'<img src="{_inline(image)}" alt="{escape(title)}">'
    return (
        f'<div><b>{escape(title)}</b><div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">'
        f"<table>{cells}</table>{seen}</div>{more}</div>"
    )


def _inline(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
