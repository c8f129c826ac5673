"""The contact sheet of a flight: small pictures of all its cubes, with their names and times."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.preview import Picture
from openhsi_shared.line_times import utc_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MIN_WIDTH", "Place", "Tile", "arrange", "contact_sheet", "tile_height", "tile_of"]

PAPER, INK, PALE, ALARM = (24, 24, 27), (228, 228, 231), (161, 161, 170), (248, 113, 113)
MARGIN, GAP = 24, 16
TITLE_SIZE, NAME_SIZE, NOTE_SIZE = 22, 12, 11
TITLE_HEIGHT, NAME_HEIGHT = 44, 16
MIN_WIDTH, MAX_WIDTH = 184, 2400
"""Width of a tile in pixels: at least what a caption needs; longer cubes are scaled down."""
HEIGHTS = ((12, 320), (60, 240), (300, 160))
"""(up to this number of cubes, height of pictures in pixels)."""
MIN_HEIGHT = 96
BEST_RATIO = 1.5
"""Width : height of the sheet."""


class Tile(NamedTuple):
    """One cube on the sheet."""

    name: str
    image: NDArray[np.uint8]
    """At the size at which it is shown."""
    n_lines: int = 0
    begun_ns: int | None = None
    error: str = ""
    """Why it has no picture."""


class Place(NamedTuple):
    """Position of a tile: its upper left corner and its size, in pixels of the sheet."""

    left: int
    top: int
    width: int
    height: int


def tile_height(n_cubes: int) -> int:
    """Height of pictures: the more there are, the smaller.

    >>> [tile_height(n) for n in (1, 60, 61, 5000)]
    [320, 240, 160, 96]
    """
    return next((height for max_cubes, height in HEIGHTS if n_cubes <= max_cubes), MIN_HEIGHT)


def tile_of(name: str, picture: Picture, height: int) -> Tile:
    """Scale a picture at its aspect ratio: to `height`, or to the maximum width if that is less."""
    from PIL import Image

    scale = min(height / picture.n_cross, MAX_WIDTH / picture.n_lines)
    size = (max(1, round(picture.n_lines * scale)), max(1, round(picture.n_cross * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    small = Image.fromarray(picture.image).resize(size, how)
    return Tile(name, np.asarray(small.convert("RGB")), picture.n_lines, picture.begun_ns)


def arrange(sizes: Sequence[tuple[int, int]]) -> tuple[list[Place], tuple[int, int]]:
    """Arrange tiles of these sizes (width, height) in rows, left to right; also return the total size.

    A row ends where the next tile would not fit; the sheet is wider than high.

    >>> arrange([(400, 300)] * 6)[1]
    (816, 932)
    """
    area = sum((width + GAP) * (height + GAP) for width, height in sizes)
    room = max([math.sqrt(area * BEST_RATIO), *(width for width, _ in sizes)])
    places: list[Place] = []
    left = top = row_height = 0
    for width, height in sizes:
        if left and left + width > room:
            left, top, row_height = 0, top + row_height + GAP, 0
        places.append(Place(left, top, width, height))
        left, row_height = left + width + GAP, max(row_height, height)
    extent = max((place.left + place.width for place in places), default=0)
    return places, (extent, top + row_height)


def contact_sheet(tiles: Sequence[Tile], title: str) -> NDArray[np.uint8]:
    """Draw all tiles, sorted by time, then name: (rows, columns, 3). ArgumentError if there are none."""
    from PIL import Image, ImageDraw

    if not tiles:
        raise ArgumentError("a contact sheet needs at least one cube")
    tiles = sorted(tiles, key=lambda tile: (tile.begun_ns is None, tile.begun_ns or 0, tile.name))
    fonts = _Fonts()
    captions = [_caption(tile, max(MIN_WIDTH, tile.image.shape[1]), fonts) for tile in tiles]
    sizes = [
        (max(MIN_WIDTH, tile.image.shape[1]), tile.image.shape[0] + 8 + NAME_HEIGHT * len(caption))
        for tile, caption in zip(tiles, captions, strict=True)
    ]
    places, (width, height) = arrange(sizes)
    width = max(width, math.ceil(fonts.title.getlength(title)))
    sheet = Image.new("RGB", (width + 2 * MARGIN, height + TITLE_HEIGHT + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, fonts.title)
    for tile, caption, place in zip(tiles, captions, places, strict=True):
        _draw(sheet, draw, tile, caption, (MARGIN + place.left, MARGIN + TITLE_HEIGHT + place.top), fonts)
    return np.asarray(sheet)


class _Fonts:
    """The fonts that come with Pillow."""

    def __init__(self) -> None:
        from PIL import ImageFont

        self.title: Any = ImageFont.load_default(TITLE_SIZE)
        self.name: Any = ImageFont.load_default(NAME_SIZE)
        self.note: Any = ImageFont.load_default(NOTE_SIZE)


def _draw(
    sheet: "Image.Image", draw: Any, tile: Tile, caption: list[tuple[str, bool]], corner: tuple[int, int], fonts: _Fonts
) -> None:
    from PIL import Image

    left, top = corner
    sheet.paste(Image.fromarray(tile.image), corner)
    if tile.error:
        draw.rectangle((left, top, left + tile.image.shape[1] - 1, top + tile.image.shape[0] - 1), outline=ALARM)
    top += tile.image.shape[0] + 6
    for text, is_name in caption:
        colour = INK if is_name else ALARM if tile.error else PALE
        draw.text((left, top), text, colour, fonts.name if is_name else fonts.note)
        top += NAME_HEIGHT


def _caption(tile: Tile, room: int, fonts: _Fonts) -> list[tuple[str, bool]]:
    """Lines of text, and whether each is part of the name."""
    notes = [tile.error] if tile.error else [words for words in (_time_of(tile.begun_ns), _lines_of(tile)) if words]
    wrapped = [(line, True) for line in _wrap(tile.name, room, fonts.name)]
    return wrapped + [(line, False) for note in notes for line in _wrap(note, room, fonts.note)[:3]]


def _wrap(text: str, room: int, font: Any) -> list[str]:
    """Wrap a text to the width `room`, also within words: names have no blanks."""
    lines = [""]
    for letter in text:
        if lines[-1] and font.getlength(lines[-1] + letter) > room:
            lines.append("")
        lines[-1] += letter
    return [line.strip() for line in lines]


def _time_of(time_ns: int | None) -> str:
    if time_ns is None:
        return ""
    return utc_of(time_ns).isoformat(" ", "milliseconds")[:-6] + " UTC"


def _lines_of(tile: Tile) -> str:
    return f"{tile.n_lines:,} line{'' if tile.n_lines == 1 else 's'}"
