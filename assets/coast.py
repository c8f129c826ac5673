"""A coast seen from a drone, drawn from random numbers with a fixed seed.

Its right end continues at its left, so that a camera can fly along it without end. The sea is above, the land below::

    sea ~ swell, reefs, sandbanks │ surf │ beach, dunes │ road, village │ fields, hedges, woods, a river
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_coast"]

Field = NDArray[np.float64]

ROWS, COLUMNS = 644, 1288
TALL, WIDE = np.mgrid[:ROWS, :COLUMNS].astype(float)


def draw_coast() -> NDArray[np.uint8]:
    """Return the picture, (rows, columns, RGB), the same each time."""
    random = np.random.RandomState(1788)  # the old generator: its numbers are the same in every version of numpy
    shore = 262 + 34 * _wave(1, 0.4) + 20 * _wave(2, 2.0) + 9 * _wave(5, 1.0) + 7 * _fractal(random, 1.6)[0]
    inland = TALL - shore + 5 * _fractal(random, 1.8)  # pixels from the water's edge, negative on the sea
    relief = _fractal(random, 2.2)

    picture = np.empty((ROWS, COLUMNS, 3))
    sea = _sea(random, inland)
    land = _land(random, inland, relief)
    beach = _beach(random, inland)
    dunes = _between(inland - 5 * relief, 34, 62)[..., None]
    picture[:] = land * dunes + beach * (1 - dunes)
    _draw_river(picture, random, inland)
    _draw_roads_and_roofs(picture, random, shore)
    _draw_trees(picture, random, inland, relief)
    wet = _between(inland, -2, 3)[..., None]
    picture = sea * (1 - wet) + picture * wet
    picture += _foam(random, inland)[..., None] * (np.array([244, 248, 247]) - picture)
    _draw_boats(picture, random, inland)
    steps = np.clip(np.rint(picture / 5) * 5, 0, 255)  # of 5: invisible, and the file is half as large
    return np.asarray(steps, np.uint8)


def _fractal(random: np.random.RandomState, steepness: float, stretch: float = 1.0) -> Field:
    """Clouds with mean 0 and deviation 1 that join at all edges; the steeper, the softer."""
    noise = np.fft.rfft2(random.standard_normal((ROWS, COLUMNS)))
    tall = np.fft.fftfreq(ROWS)[:, None] * stretch
    frequency = np.hypot(tall, np.fft.rfftfreq(COLUMNS)[None, :] / stretch)
    frequency[0, 0] = 1.0
    field = np.fft.irfft2(noise / frequency**steepness, s=(ROWS, COLUMNS))
    return np.asarray((field - field.mean()) / field.std())


def _wave(times: int, phase: float) -> Field:
    """A sine along the flight with `times` periods, continuous at the ends."""
    return np.sin(2 * np.pi * times * np.arange(COLUMNS) / COLUMNS + phase)


def _soft(line: Field) -> Field:
    """Remove everything with more than eight periods along the flight."""
    waves = np.fft.rfft(line)
    waves[9:] = 0
    return np.fft.irfft(waves, len(line))


def _between(values: Field, zero: float | Field, one: float | Field) -> Field:
    """Rise smoothly from 0 to 1."""
    place = np.clip((values - zero) / (one - zero), 0, 1)
    return np.asarray(place * place * (3 - 2 * place))


def _mix(place: Field, *colours: tuple[int, int, int]) -> Field:
    """Colours along 0 .. 1."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(place, stops, channel) for channel in zip(*colours, strict=True)], axis=-1)


def _sea(random: np.random.RandomState, inland: Field) -> Field:
    depth = -inland + 14 * _fractal(random, 1.7)
    sandbank = _between(_fractal(random, 2.0), 0.7, 1.7) * _between(depth, 150, 60)
    shallow = np.clip(np.exp(-np.clip(depth, 0, None) / 62) + 0.28 * sandbank, 0, 1)
    water = _mix(shallow, (16, 52, 88), (20, 78, 112), (34, 116, 138), (74, 160, 162), (152, 196, 176))
    reef = _between(_fractal(random, 1.5), 0.75, 1.5) * _between(depth, 30, 70) * _between(depth, 190, 120)
    water -= reef[..., None] * np.array([6, 26, 26])
    swell = np.sin((TALL * 0.9 + 11 * _fractal(random, 1.9)) / 4.2) * _between(depth, 4, 60)
    ripples = _fractal(random, 0.9, 1.6)
    water += (3.2 * swell + 3.4 * ripples)[..., None] * np.array([0.7, 1.0, 1.0])
    glint = _between(ripples + 0.5 * swell, 2.6, 3.6) * _between(depth, 40, 120)
    return np.asarray(water + 70 * glint[..., None])


def _foam(random: np.random.RandomState, inland: Field) -> Field:
    """Breakers: lines along the shore, torn by chance, and the edge of the last wave."""
    ragged, torn = 4.5 * _fractal(random, 1.5), _fractal(random, 1.15)
    foam = np.zeros((ROWS, COLUMNS))
    for out, width, amount in ((3, 3.0, 0.9), (17, 4.5, 0.75), (38, 4.0, 0.45), (66, 3.0, 0.18)):
        line = np.exp(-((((inland + ragged + out) + 3 * _wave(7 + out % 5, out)) / width) ** 2))
        foam = np.maximum(foam, line * _between(torn, 0.9 - 1.6 * amount, 1.6 - 1.2 * amount))
    trail = _between(inland, -34, -6) * _between(inland, 6, -2) * _between(torn, 0.3, 2.0) * 0.55
    return np.clip(np.maximum(foam, trail), 0, 0.95)


def _beach(random: np.random.RandomState, inland: Field) -> Field:
    sand = _mix(_between(inland, 0, 26), (138, 118, 88), (176, 152, 114), (212, 192, 150), (226, 208, 168))
    wrack = np.exp(-(((inland - 17 + 3 * _fractal(random, 1.4)) / 1.6) ** 2)) * _between(
        _fractal(random, 1.0), 0.0, 1.2
    )
    sand += (3.5 * _fractal(random, 0.6) + 4 * _fractal(random, 1.6))[..., None]
    return np.asarray(sand - 46 * wrack[..., None])


def _land(random: np.random.RandomState, inland: Field, relief: Field) -> Field:
    grass = _mix(
        _between(relief + 0.5 * _fractal(random, 1.2), -1.8, 1.8),
        (84, 108, 58),
        (112, 128, 68),
        (146, 146, 88),
        (164, 154, 104),
    )
    grass += (5 * _fractal(random, 0.5))[..., None]
    plots, ploughed, is_edge = _fields(random)
    near = _between(inland + 6 * relief, 150, 165)[..., None]
    fields = plots + (ploughed + 3 * _fractal(random, 0.4))[..., None]
    fields = np.where(is_edge[..., None], np.array([62, 84, 46]) + 9 * _fractal(random, 0.5)[..., None], fields)
    shade = np.gradient(relief, axis=1) - np.gradient(relief, axis=0)
    return np.asarray((grass * (1 - near) + fields * near) * (1 + 0.9 * np.clip(shade, -0.12, 0.12))[..., None])


def _fields(random: np.random.RandomState) -> tuple[Field, Field, NDArray[np.bool_]]:
    """Plots between crooked lines: their colours, the furrows upon them, and the hedges around."""
    crops = np.array(
        [
            (150, 158, 74),
            (104, 134, 58),
            (176, 162, 96),
            (132, 104, 74),
            (90, 122, 62),
            (196, 182, 112),
            (118, 148, 70),
            (158, 130, 92),
        ]
    )
    across = 14 * WIDE / COLUMNS + 0.10 * _fractal(random, 2.2)
    along = (TALL + 22 * _wave(2, 0.5) + 9 * _wave(3, 2.5)) / 62 + 0.06 * _fractal(random, 2.2)
    row = np.floor(along).astype(int)
    across = across + 0.5 * (row % 2) + 0.2 * np.sin(2.1 * row)
    plot = np.floor(across).astype(int) % 14
    kind = random.randint(len(crops), size=(14, 16))[plot, row % 16]
    slant = random.uniform(0, np.pi, (14, 16))[plot, row % 16]
    furrows = np.sin((TALL * np.sin(slant) + WIDE * np.cos(slant)) * 1.35) * np.array([5, 2, 6, 9, 3, 4, 2, 8])[kind]
    side = np.minimum(across % 1, 1 - across % 1) * 92
    end = np.minimum(along % 1, 1 - along % 1) * 62
    is_edge = np.minimum(side, end) < 1.7
    return crops[kind].astype(float), furrows, is_edge


def _draw_river(picture: Field, random: np.random.RandomState, inland: Field) -> None:
    """A small river from the hills into the sea."""
    down = TALL[:, 0]
    middle = 905 + 46 * np.sin(down / 74) + 17 * np.sin(down / 29 + 1)
    off = np.abs(WIDE - middle[:, None]) + 1.6 * _fractal(random, 1.3)
    half = 5.5 + 10 * _between(inland, 75, 10)
    bank = _between(off, half + 13, half + 2)[..., None] * 0.75
    picture += bank * (np.array([86, 106, 60]) + 8 * _fractal(random, 0.8)[..., None] - picture)
    water = _between(off, half + 1.5, half - 1)[..., None]
    mud = _between(inland, 55, 0)[..., None] * np.array([34, 52, 44])
    picture += water * (np.array([46, 82, 86]) + mud + 2.5 * _fractal(random, 1.0)[..., None] - picture)


def _draw_roads_and_roofs(picture: Field, random: np.random.RandomState, shore: Field) -> None:
    road = _soft(shore) + 104 + 11 * _wave(2, 1.3) + 5 * _wave(6, 0.2)
    slope = np.hypot(1, np.gradient(road))
    off_road = np.abs(TALL - road) / slope
    for start in (330, 392, 455, 520, 590, 1130):  # lanes from the road inland, crooked
        inland = TALL - road[start]
        is_lane = (inland > -2) & (inland < (74 if start < 600 else 330))
        off_lane = np.abs(WIDE - start - 5 * np.sin(TALL / 21 + start)) + 1.6
        off_road = np.minimum(off_road, np.where(is_lane, off_lane, np.inf))
    back = road + 50 + 3 * _wave(9, 0)
    in_village = (WIDE > 322) & (WIDE < 598)
    off_road = np.minimum(off_road, np.where(in_village, np.abs(TALL - back) + 1.6, np.inf))
    verge = _between(off_road, 8, 4.2)[..., None]
    picture += verge * 0.55 * (np.array([168, 158, 128]) - picture)
    asphalt = _between(off_road, 4.4, 3.4)[..., None]
    picture += asphalt * (np.array([104, 105, 108]) + 3 * random.standard_normal((ROWS, COLUMNS, 1)) - picture)
    is_dash = (np.abs(TALL - road) < 0.7) & (WIDE % 14 < 7)
    picture[is_dash] = (214, 212, 200)
    for _ in range(26):  # cars
        column = random.randint(COLUMNS)
        row = int(road[column] + random.choice([-2, 2]))
        picture[row : row + 2, column : column + 5] = np.array(
            [(200, 40, 36), (235, 235, 235), (40, 44, 60), (60, 90, 150)]
        )[random.randint(4)]
    for column in range(340, 592, 17):
        for strip, base in enumerate((road[column] + 19, road[column] + 35, back[column] + 19, road[column] - 19)):
            if random.uniform() < (0.86, 0.8, 0.7, 0.25)[strip]:
                _draw_house(picture, random, base + random.uniform(-3, 3), column + random.uniform(-3, 3))
    for column, row in ((150, 480), (700, 600), (1010, 520), (1195, 470), (60, 590)):  # farms
        for _ in range(3):
            _draw_house(picture, random, row + random.uniform(-15, 15), column + random.uniform(-18, 18))


def _draw_house(picture: Field, random: np.random.RandomState, row: float, column: float) -> None:
    """A gable roof, one side in the sun, and its shadow; a garden around."""
    roofs = np.array([(186, 92, 66), (172, 80, 58), (200, 112, 80), (128, 126, 128), (224, 220, 210), (150, 74, 58)])
    roof = roofs[random.randint(len(roofs))].astype(float)
    angle, length, width = random.uniform(-0.25, 0.25), random.uniform(4.6, 7.2), random.uniform(3.4, 4.8)
    tall = slice(max(0, int(row) - 15), int(row) + 16)
    wide = slice(max(0, int(column) - 15), int(column) + 16)
    y, x = TALL[tall, wide] - row, WIDE[tall, wide] - column
    patch = picture[tall, wide]
    garden = _between(np.maximum(np.abs(x), np.abs(y)), 10.5, 8.5)[..., None] * 0.7
    patch += garden * (np.array([98, 128, 62]) + 7 * random.standard_normal((*x.shape, 1)) - patch)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    shadow = (np.abs(u - 2.2) < length) & (np.abs(v - 2.2) < width)
    patch[shadow] *= 0.52
    is_roof = (np.abs(u) < length) & (np.abs(v) < width)
    patch[is_roof] = roof * np.where(v[is_roof] < 0, 1.1, 0.8)[:, None]


def _draw_trees(picture: Field, random: np.random.RandomState, inland: Field, relief: Field) -> None:
    """Woods, hedges and single trees: round crowns, lit from the upper left, with a shadow on the lower right."""
    wood = _fractal(random, 2.1) + 0.35 * relief
    is_paved = np.ptp(picture, axis=-1) < 14
    for _ in range(21000):
        row, column = random.randint(ROWS), random.randint(COLUMNS)
        size, chance, tint = random.uniform(1.8, 4.6), random.uniform(), random.uniform(0.8, 1.2)
        here = inland[row, column]
        density = 0.9 * (wood[row, column] > 0.95) * (here > 92) + 0.022 * (here > 60) + 0.07 * (58 < here < 92)
        red, _, blue = picture[row, column]
        is_water_or_roof = blue > red or red > 165 or is_paved[row, column]
        if chance > density or is_water_or_roof:
            continue
        if here < 92:
            size *= 0.6  # bushes on the dunes
        reach = int(size * 2) + 2
        tall = slice(max(0, row - reach), row + reach + 1)
        wide = slice(max(0, column - reach), column + reach + 1)
        y, x = TALL[tall, wide] - row, WIDE[tall, wide] - column
        patch = picture[tall, wide]
        patch *= 1 - 0.45 * _between(np.hypot(x - size * 0.6, y - size * 0.6), size * 1.1, size * 0.7)[..., None]
        lit = np.clip(0.82 - 0.11 * (x + y) * 2.6 / size, 0.45, 1.35) * tint
        crown = _between(np.hypot(x, y), size * 1.05, size * 0.8)[..., None]
        patch += crown * (lit[..., None] * np.array([58, 86, 42]) - patch)


def _draw_boats(picture: Field, random: np.random.RandomState, inland: Field) -> None:
    """A few boats and their wakes."""
    for row, column, is_fast in (
        (70, 200, True),
        (128, 640, False),
        (44, 880, True),
        (150, 1120, False),
        (168, 470, False),
    ):
        if inland[row, column] > -40:
            continue
        if is_fast:
            behind = column - WIDE
            wake = (
                np.exp(-(((np.abs(TALL - row) - 0.16 * behind) / 2.2) ** 2))
                * (behind > 0)
                * np.exp(-np.clip(behind, 0, None) / 45)
            )
            trail = np.exp(-(((TALL - row) / 2.0) ** 2)) * (behind > 0) * np.exp(-np.clip(behind, 0, None) / 70)
            picture += (0.55 * np.clip(wake + trail, 0, 1))[..., None] * (np.array([225, 238, 238]) - picture)
        hull = (np.abs(TALL - row) < 2.6 * np.sqrt(np.clip(1 - (WIDE - column) / 8, 0, 1))) & (
            np.abs(WIDE - column) < 8
        )
        picture[hull] = (238, 236, 228)
        picture[hull & (np.abs(TALL - row) < 1.1) & (WIDE - column < 2)] = (
            (150, 96, 60) if random.uniform() < 0.5 else (60, 74, 96)
        )
