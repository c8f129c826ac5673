"""The contact sheet of a flight, checked pixel by pixel."""

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.preview import Picture
from openhsi_shared.files.sheet import HEIGHTS, PAPER, Tile, arrange, contact_sheet, tile_height, tile_of

COLOURS = {"a": (200, 0, 0), "b": (0, 200, 0), "c": (0, 0, 200), "d": (200, 200, 0)}


def picture_in(colour, n_lines=60, n_cross=30, begun_ns=None):
    """A cube whose right half, which was flown over later, is black."""
    image = np.zeros((n_cross, n_lines, 3), np.uint8)
    image[:, : n_lines // 2] = colour
    return Picture(image, n_lines, n_cross, begun_ns)


def corner_of(sheet, colour):
    """Upper left pixel of where `colour` is, and how many pixels have it."""
    rows, columns = np.nonzero((sheet == colour).all(axis=-1))
    assert rows.size, f"{colour} is not on the sheet"
    return int(rows.min()), int(columns.min()), rows.size


def test_cubes_stand_in_the_order_of_their_times_whatever_their_names():
    times = {"a": 3_000_000_000, "b": 1_000_000_000, "c": 2_000_000_000, "d": None}
    tiles = [tile_of(name, picture_in(COLOURS[name], begun_ns=times[name]), 100) for name in "abcd"]
    sheet = contact_sheet(tiles, "a flight")
    order = sorted(COLOURS, key=lambda name: corner_of(sheet, COLOURS[name])[:2])
    assert order == ["b", "c", "a", "d"]
    assert all(corner_of(sheet, colour)[2] == 100 * 100 for colour in COLOURS.values())


@pytest.mark.parametrize(
    ("n_lines", "n_cross", "expected"),
    [(60, 30, (200, 100)), (30, 60, (50, 100)), (1, 644, (1, 100)), (9000, 90, (2400, 24)), (8, 4, (200, 100))],
)
def test_a_picture_keeps_its_aspect_and_fits(n_lines, n_cross, expected):
    tile = tile_of("a", picture_in((9, 9, 9), n_lines, n_cross), 100)
    assert tile.image.shape == (expected[1], expected[0], 3)


def test_a_decimated_picture_keeps_the_aspect_of_its_cube():
    tile = tile_of("a", Picture(np.zeros((100, 2500), np.uint8), 5000, 100, None), 40)
    assert tile.image.shape == (40, 2000, 3)


def test_what_is_made_smaller_is_averaged_and_no_line_is_skipped():
    image = np.zeros((100, 100), np.uint8)
    image[:, ::2] = 200
    assert np.unique(tile_of("a", Picture(image, 100, 100, None), 50).image).tolist() == [100]


@pytest.mark.parametrize("n", [1, 2, 17, 400])
def test_tiles_never_overlap_and_the_sheet_holds_them_all(n):
    sizes = [(184 + 37 * (k % 5), 100 + 11 * (k % 3)) for k in range(n)]
    places, (width, height) = arrange(sizes)
    covered = np.zeros((height, width), np.uint8)
    for place, size in zip(places, sizes, strict=True):
        assert (place.width, place.height) == size
        covered[place.top : place.top + place.height, place.left : place.left + place.width] += 1
    assert covered.max() == 1
    assert covered.sum() == sum(w * h for w, h in sizes)
    assert n < 17 or 1 < width / height < 2.2


def test_the_more_cubes_the_smaller_they_are():
    heights = [tile_height(n) for n in (1, 12, 13, 60, 61, 300, 301, 100_000)]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == len(HEIGHTS) + 1


def test_names_times_and_numbers_of_lines_are_written_under_the_pictures():
    """Without one of them there is less ink."""
    ink = [
        int((contact_sheet([tile], "") != PAPER).any(axis=-1).sum())
        for tile in (
            Tile("", np.full((9, 9, 3), PAPER, np.uint8), error=" "),
            Tile("flight", np.full((9, 9, 3), PAPER, np.uint8), error=" "),
            Tile("flight", np.full((9, 9, 3), PAPER, np.uint8), 128),
            Tile("flight", np.full((9, 9, 3), PAPER, np.uint8), 128, 10**18),
        )
    ]
    assert ink == sorted(set(ink))


def test_a_long_name_is_wrapped_within_its_tile():
    tiles = [Tile("m" * 200, np.full((50, 50, 3), k, np.uint8), 8) for k in (1, 2)]
    sheet = contact_sheet(tiles, "")
    gap = sheet[:, 24 + 184 + 4 : 24 + 184 + 12]
    assert (gap == PAPER).all()


def test_a_cube_without_a_picture_is_named_in_red():
    sheet = contact_sheet([Tile("broken", np.zeros((40, 40, 3), np.uint8), error="cannot be read")], "")
    assert (sheet == (248, 113, 113)).all(axis=-1).sum() > 4 * 39


def test_no_cubes_are_no_sheet():
    with pytest.raises(ArgumentError, match="at least one cube"):
        contact_sheet([], "nothing")
