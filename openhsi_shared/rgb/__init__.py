"""RGB pictures of lines.

::

    lines (n, X, L) ──mean_of_bands──▶ (n, X, 3 or 1) float32 ──picture──▶ (X, n, 3) or (X, n) uint8

`bands`: which bands are red, green and blue, and their means. `pictures`: the conversion to 8 bits.
"""

from openhsi_shared.rgb.bands import (
    PREVIEW_RANGES_NM,
    SHOW_NM,
    Band,
    BandMeans,
    Lines,
    Range,
    decimation,
    mean_of_bands,
    preview_bands,
    thinned,
)
from openhsi_shared.rgb.pictures import picture, stretch

__all__ = [
    "PREVIEW_RANGES_NM",
    "SHOW_NM",
    "Band",
    "BandMeans",
    "Lines",
    "Range",
    "decimation",
    "mean_of_bands",
    "picture",
    "preview_bands",
    "stretch",
    "thinned",
]
