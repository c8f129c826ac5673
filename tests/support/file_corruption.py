"""Damaged copies of files, and what becomes of those who read them: in a child, which may die or hang of it.

Everything is made of numbers: the same number gives the same damage of the same file.
"""

import faulthandler
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from openhsi_shared.calibration import read_calibration
from openhsi_shared.errors import CalibrationError, FileError
from openhsi_shared.files import open_cube, verify
from tests.support.helpers import child

HANGS_S = 30.0
"""A mutant that takes longer is one that hangs."""
MOST_BYTES = 2 << 30
"""More memory than this nobody may ask for, to read a file of some hundred kilobytes."""
TRUST = 20
"""After so many mutants, a reader is given a good file: one that takes everything for damaged would find all."""
BLOCKS = (8, 64, 512, 4096)
"""Sizes of blocks that are exchanged: a number of HDF5's, a cache line, a sector, a page."""


# ---- how a file is damaged ---------------------------------------------------------------------


@dataclass(frozen=True)
class Original:
    """A good file, and where in it there is something else than lines."""

    path: Path
    content: bytes
    rest: tuple[tuple[int, int], ...]
    """(begin, end) of what lies between and around the lines: the lines take most of a file, and a damaged one is
    always found; the rest is where a reader may be led astray."""

    @classmethod
    def of_cube(cls, path: Path) -> "Original":
        with h5py.File(path) as file:
            chunks: list[Any] = []
            file["datacube"].id.chunk_iter(chunks.append)
        rest, begin = [], 0
        for chunk in sorted(chunks, key=lambda chunk: chunk.byte_offset):
            rest.append((begin, chunk.byte_offset))
            begin = chunk.byte_offset + chunk.size
        content = path.read_bytes()
        rest.append((begin, len(content)))
        return cls(path, content, tuple(part for part in rest if part[0] < part[1]))

    @classmethod
    def of(cls, path: Path) -> "Original":
        content = path.read_bytes()
        return cls(path, content, ((0, len(content)),))


def mutant(original: Original, number: int) -> tuple[str, bytes]:
    """The damage in words, and the damaged content; of a number always the same."""
    random = np.random.default_rng(number)
    ways = list(WAYS.values())
    content = original.content
    while content == original.content:
        way = ways[number % len(ways)]
        place = _place(original, random)
        content = way(bytearray(original.content), place, random)
    return f"{original.path.name}, number {number}: {list(WAYS)[number % len(ways)]} at {place}", content


def _place(original: Original, random: np.random.Generator) -> int:
    """Anywhere, or, in three cases of four, outside of the lines: any byte of a value, not of the zeros between."""
    n_bytes = len(original.content)
    if random.integers(4) == 0:
        return int(random.integers(n_bytes))
    begin, end = original.rest[random.integers(len(original.rest))]
    values = np.flatnonzero(np.frombuffer(original.content[begin:end], np.uint8))
    return begin + int(random.choice(values)) if len(values) else begin


def _flip(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    content[place] ^= 1 << int(random.integers(8))
    return bytes(content)


def _flip_several(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """A burst: bits within a hundred bytes."""
    for _ in range(int(random.integers(2, 33))):
        content[min(len(content) - 1, place + int(random.integers(100)))] ^= 1 << int(random.integers(8))
    return bytes(content)


def _number(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """A number of HDF5's, such as a place or a length, becomes another one that looks likely, or an extreme one."""
    place -= place % 8
    size = int(random.choice([1, 2, 4, 8]))
    values = [0, 1, place, len(content), (1 << 64) - 1, int(random.integers(len(content)))]
    value = values[random.integers(len(values))] % (1 << 8 * size)
    content[place : place + size] = value.to_bytes(size, "little")
    return bytes(content)


def _noise(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    end = min(len(content), place + int(random.integers(1, 4097)))
    content[place:end] = random.bytes(end - place)
    return bytes(content)


def _fill(value: int) -> Callable[[bytearray, int, np.random.Generator], bytes]:
    def fill(content: bytearray, place: int, random: np.random.Generator) -> bytes:
        size = int(random.choice([*BLOCKS, 65536]))
        begin = place - place % size
        end = min(len(content), begin + size)
        content[begin:end] = bytes([value]) * (end - begin)
        return bytes(content)

    return fill


def _swap(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """Two blocks of a kind change places."""
    size = int(random.choice([size for size in BLOCKS if 2 * size <= len(content)]))
    n_blocks = len(content) // size
    one, other = min(place // size, n_blocks - 1) * size, int(random.integers(n_blocks)) * size
    content[one : one + size], content[other : other + size] = (
        content[other : other + size],
        content[one : one + size],
    )
    return bytes(content)


def _copy(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """A block is written to a second place, too."""
    size = int(random.choice([size for size in BLOCKS if 2 * size <= len(content)]))
    n_blocks = len(content) // size
    source, target = min(place // size, n_blocks - 1) * size, int(random.integers(n_blocks)) * size
    if random.integers(2):
        source, target = target, source
    content[target : target + size] = content[source : source + size]
    return bytes(content)


def _truncate(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    return bytes(content[:place])


def _lose_end(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """The length is right, but the end was never written."""
    return bytes(content[:place]) + bytes(len(content) - place)


def _shift(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """Some bytes too many, or missing: a file that was sent as text."""
    n_bytes = int(random.choice([1, 2, 8, 512]))
    if random.integers(2):
        return bytes(content[:place] + random.bytes(n_bytes) + content[place:])
    return bytes(content[:place] + content[place + n_bytes :])


WAYS: dict[str, Callable[[bytearray, int, np.random.Generator], bytes]] = {
    "a flipped bit": _flip,
    "flipped bits": _flip_several,
    "another number": _number,
    "noise": _noise,
    "zeros": _fill(0),
    "ones": _fill(0xFF),
    "exchanged blocks": _swap,
    "a doubled block": _copy,
    "a lost end": _truncate,
    "an end of zeros": _lose_end,
    "bytes too many or missing": _shift,
}


# ---- what is read of it ------------------------------------------------------------------------


def everything_in(path: Path) -> dict[str, Any]:
    """What each way of reading a cube gives: a value, or the FileError it raised. Other errors are nobody's."""
    found: dict[str, Any] = {}

    def look(name: str, read: Callable[[], Any]) -> None:
        try:
            found[name] = _plain(read())
        except FileError as error:
            found[name] = error

    try:
        cube = open_cube(path)
    except FileError as error:
        return {"open": error}
    with cube:
        look("lines", lambda: cube.lines[:])
        look("a line", lambda: cube.lines[-1])
        look("axes", lambda: (cube.dims, cube.lines.shape, cube.lines.dtype.str))
        for name in ("is_ours", "level", "attributes", "times_ns", "frame_ids", "temperatures", "wavelengths_nm"):
            look(name, lambda name=name: getattr(cube, name))  # type: ignore[misc]
        for name in ("x", "y", "camera_time_ns", "line_crc32"):
            look(f"column {name}", lambda name=name: cube.column(name))  # type: ignore[misc]
        look("dataset", lambda: cube.dataset.load().to_dict())
        _look_at_groups(look, lambda: cube.groups)
    return found


def _look_at_groups(
    look: Callable[[str, Callable[[], Any]], None], groups_of: Callable[[], Any], path: str = ""
) -> None:
    """Each group, and each variable in it."""
    look(f"groups of {path}/", lambda: list(groups_of()))
    with suppress(FileError):
        for name, group in groups_of().items():
            where = f"{path}/{name}"
            look(f"attributes of {where}", lambda group=group: group.attributes)  # type: ignore[misc]
            look(f"variables of {where}", lambda group=group: list(group.variables))  # type: ignore[misc]
            look(f"dataset of {where}", lambda group=group: group.dataset.load().to_dict())  # type: ignore[misc]
            with suppress(FileError):
                for key in group.variables:
                    look(f"{where}/{key}", lambda group=group, key=key: tuple(group.variables[key]))  # type: ignore[misc]
            _look_at_groups(look, lambda group=group: group.groups, where)  # type: ignore[misc]


def _plain(value: Any) -> Any:
    """What can be compared: arrays as bytes, times as numbers."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return repr(value)


def judge_cube(path: Path, good: dict[str, Any]) -> str:
    """Return "found", "harmless", or what is wrong with reading this mutant of a cube whose reading is `good`."""
    found = everything_in(path)
    report = verify(path)
    wrong = [name for name, value in found.items() if not isinstance(value, FileError) and value != good.get(name)]
    errors = [name for name, value in found.items() if isinstance(value, FileError)]
    if wrong:
        return f"wrong data: {wrong}, verify says {report.problems}"
    if errors and report.ok:
        return f"verify finds nothing, but {errors[0]} cannot be read: {found[errors[0]]}"
    with suppress(FileError), open_cube(path, check=False) as cube:
        _ = cube.lines[:]  # nothing is promised of the values, but that it ends, and ends well
    return "harmless" if report.ok else "found"


def judge_calibration(path: Path, good: dict[str, Any]) -> str:
    """The same for a calibration; its layout, which is openhsi's, has no checksums: what is read may differ."""
    try:
        calibration = read_calibration(path)
    except CalibrationError as error:
        return "found" if str(path) in str(error) else f"an error that does not name the file: {error}"
    return "harmless" if _values_of(calibration) == good else "differs"


def everything_of(path: Path) -> dict[str, Any]:
    """What is in a calibration, so that it can be compared."""
    return _values_of(read_calibration(path))


def _values_of(calibration: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in calibration.items()}


# ---- who reads them ----------------------------------------------------------------------------


@dataclass
class Verdicts:
    """What became of the mutants."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """What must not be: wrong data, crashes, hanging, errors that are not ours."""

    def note(self, words: str, verdict: str) -> None:
        is_good = verdict in ("found", "harmless", "differs")
        self.counts[verdict if is_good else "fault"] += 1
        if not is_good:
            self.faults.append(f"{words}: {verdict}")

    def __str__(self) -> str:
        return f"{self.counts.total()} mutants: {dict(self.counts)}\n" + "\n".join(self.faults[:20])


def read_all(originals: Sequence[Original], numbers: Sequence[int], judge: Callable[..., str]) -> Verdicts:
    """Have mutants read by a child, and by another one if it dies of that; `numbers` are dealt to the originals."""
    verdicts = Verdicts()
    left = list(numbers)
    while left:
        with child(_read_them, originals, left, judge) as (process, connection):
            for words, verdict in _answers(connection):
                left.pop(0)
                verdicts.note(words, verdict)
            process.join(HANGS_S)
            if left:
                number = left.pop(0)
                words, _ = mutant(originals[number % len(originals)], number)
                verdicts.note(words, f"the reader ended with {process.exitcode}")
    return verdicts


def _answers(connection: Any) -> Iterator[tuple[str, str]]:
    while connection.poll(2 * HANGS_S):
        try:
            yield connection.recv()
        except EOFError:
            return


def _read_them(
    connection: Any, originals: Sequence[Original], numbers: Sequence[int], judge: Callable[..., str]
) -> None:
    limit_memory()
    readings = {judge_cube: everything_in, judge_calibration: everything_of}
    good = [readings[judge](original.path) for original in originals]
    for count, number in enumerate(numbers, 1):
        original = originals[number % len(originals)]
        words, content = mutant(original, number)
        # a name of its own: a library that has not let go of the last one would take this one for it
        path = original.path.with_name(f"mutant-{number}{original.path.suffix}")
        path.write_bytes(content)
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        verdict = _verdict(judge, path, good[number % len(originals)])
        if count % TRUST == 0 or count == len(numbers):
            again = _verdict(judge, original.path, good[number % len(originals)])
            if again != "harmless":
                verdict = f"after this one, its good original is not read as good any more: {again}"
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
        connection.send((words, verdict))


def _verdict(judge: Callable[..., str], path: Path, good: dict[str, Any]) -> str:
    try:
        return judge(path, good)
    except Exception as error:  # noqa: BLE001 - not swallowed: it is the verdict
        return f"an error that nobody promised: {''.join(traceback.format_exception(error)[-3:])}"


def limit_memory() -> None:
    """Let what asks for much more than a file holds fail, as it would on a small board."""
    import resource

    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, now + MOST_BYTES))
