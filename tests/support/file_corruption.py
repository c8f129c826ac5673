"""Damaged copies of files, read in a child process, which may crash or hang.

Damage is deterministic: the same number gives the same damage of the same file.
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

HANG_TIMEOUT_S = 30.0
"""A reader that takes longer hangs."""
MAX_MEMORY_BYTES = 2 << 30
"""Memory limit of a reader of a file of some hundred kilobytes."""
GOOD_FILE_INTERVAL = 20
"""After this number of mutants a good file is read: a reader that rejects every file would pass otherwise."""
BLOCKS = (8, 64, 512, 4096)
"""Sizes of blocks that are exchanged: an integer of HDF5, a cache line, a sector, a page."""


# ---- how a file is damaged ---------------------------------------------------------------------


@dataclass(frozen=True)
class Original:
    """A good file, and the places in it that are not lines."""

    path: Path
    content: bytes
    metadata: tuple[tuple[int, int], ...]
    """(begin, end) of the parts between and around the lines. Lines fill most of a file, and damage in them is always
    detected; damage in these parts may mislead a reader."""

    @classmethod
    def of_cube(cls, path: Path) -> "Original":
        with h5py.File(path) as file:
            chunks: list[Any] = []
            file["datacube"].id.chunk_iter(chunks.append)
        metadata, begin = [], 0
        for chunk in sorted(chunks, key=lambda chunk: chunk.byte_offset):
            metadata.append((begin, chunk.byte_offset))
            begin = chunk.byte_offset + chunk.size
        content = path.read_bytes()
        metadata.append((begin, len(content)))
        return cls(path, content, tuple(part for part in metadata if part[0] < part[1]))

    @classmethod
    def of(cls, path: Path) -> "Original":
        content = path.read_bytes()
        return cls(path, content, ((0, len(content)),))


def mutant(original: Original, number: int) -> tuple[str, bytes]:
    """Return a description of the damage, and the damaged content; deterministic for each number."""
    random = np.random.default_rng(number)
    mutations = list(MUTATIONS.values())
    content = original.content
    while content == original.content:
        mutation = mutations[number % len(mutations)]
        place = _place(original, random)
        content = mutation(bytearray(original.content), place, random)
    return f"{original.path.name}, number {number}: {list(MUTATIONS)[number % len(mutations)]} at {place}", content


def _place(original: Original, random: np.random.Generator) -> int:
    """Any byte, or, in three cases of four, a non-zero byte outside of the lines."""
    n_bytes = len(original.content)
    if random.integers(4) == 0:
        return int(random.integers(n_bytes))
    begin, end = original.metadata[random.integers(len(original.metadata))]
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


def _change_integer(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """Replace an integer of HDF5, such as an offset or a length, by a plausible or an extreme one."""
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
    """Exchange two blocks."""
    size = int(random.choice([size for size in BLOCKS if 2 * size <= len(content)]))
    n_blocks = len(content) // size
    one, other = min(place // size, n_blocks - 1) * size, int(random.integers(n_blocks)) * size
    content[one : one + size], content[other : other + size] = (
        content[other : other + size],
        content[one : one + size],
    )
    return bytes(content)


def _copy(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """Copy a block to a second place."""
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
    """Replace the end by zeros; the length stays."""
    return bytes(content[:place]) + bytes(len(content) - place)


def _shift(content: bytearray, place: int, random: np.random.Generator) -> bytes:
    """Insert or remove some bytes, as when a file is transferred as text."""
    n_bytes = int(random.choice([1, 2, 8, 512]))
    if random.integers(2):
        return bytes(content[:place] + random.bytes(n_bytes) + content[place:])
    return bytes(content[:place] + content[place + n_bytes :])


MUTATIONS: dict[str, Callable[[bytearray, int, np.random.Generator], bytes]] = {
    "a flipped bit": _flip,
    "flipped bits": _flip_several,
    "another number": _change_integer,
    "noise": _noise,
    "zeros": _fill(0),
    "ones": _fill(0xFF),
    "exchanged blocks": _swap,
    "a doubled block": _copy,
    "a lost end": _truncate,
    "an end of zeros": _lose_end,
    "bytes too many or missing": _shift,
}


# ---- reading ------------------------------------------------------------------------


def everything_in(path: Path) -> dict[str, Any]:
    """Result of each way of reading a cube: a value, or the FileError it raised. Other errors propagate."""
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
        look("dataset", lambda: cube.dataset.load().to_dict(data="array"))
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
            look(f"dataset of {where}", lambda group=group: group.dataset.load().to_dict(data="array"))  # type: ignore[misc]
            with suppress(FileError):
                for key in group.variables:
                    look(f"{where}/{key}", lambda group=group, key=key: tuple(group.variables[key]))  # type: ignore[misc]
            _look_at_groups(look, lambda group=group: group.groups, where)  # type: ignore[misc]


def _plain(value: Any) -> Any:
    """Convert for comparison: arrays to bytes, other objects to text."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return repr(value)


def check_cube(path: Path, good: dict[str, Any]) -> str:
    """Return "found", "harmless", or what is wrong with reading this mutant; `good`: readings of the original."""
    found = everything_in(path)
    report = verify(path)
    wrong = [name for name, value in found.items() if not isinstance(value, FileError) and value != good.get(name)]
    errors = [name for name, value in found.items() if isinstance(value, FileError)]
    if wrong:
        return f"wrong data: {wrong}, verify reports {report.problems}"
    if errors and report.ok:
        return f"verify finds nothing, but {errors[0]} cannot be read: {found[errors[0]]}"
    with suppress(FileError), open_cube(path, check=False) as cube:
        _ = cube.lines[:]  # values are not checked, but reading must not hang or crash
    return "harmless" if report.ok else "found"


def check_all(paths: Sequence[Path], goods: Sequence[dict[str, Any]]) -> list[str]:
    """The same for several mutants; apart from the tests, for children that import only what they need."""
    return [check_cube(path, good) for path, good in zip(paths, goods, strict=True)]


def look_into(path: Path) -> Any:
    """The error of opening a file, and the problems that `verify` reports; or a text."""
    try:
        open_cube(path)
    except FileError as error:
        return str(error), verify(path).problems
    return "it was opened"


def check_foreign(path: Path, good: dict[str, Any]) -> str:
    """The same for a cube of another program, which has no checksums: its values may differ, its structure may not."""
    structure = structure_of(path)
    wrong = structure.pop("wrong", "")
    if wrong:
        return str(wrong)
    return "found" if "error" in structure else "harmless" if structure == good else "differs"


def structure_of(path: Path) -> dict[str, Any]:
    """Axes and number of values of a foreign cube; "error" if it is refused, "wrong" if its parts do not fit."""
    try:
        with open_cube(path) as cube:
            lines, shape = cube.lines[:], cube.lines.shape
            columns = {}
            for name in ("times_ns", "frame_ids", "temperatures", "wavelengths_nm"):
                with suppress(FileError):
                    columns[name] = getattr(cube, name)
    except FileError as error:
        return {"error": str(error)}
    expected = {name: shape[2 if name == "wavelengths_nm" else 0] for name in columns}
    found = {name: expected[name] if values is None else len(values) for name, values in columns.items()}
    wrong = f"{lines.shape} is not {shape}, or {found} not {expected}"
    is_fitting = lines.shape == shape and found == expected
    return {"shape": shape, "dims": cube.dims, "known": sorted(columns)} | ({} if is_fitting else {"wrong": wrong})


def check_calibration(path: Path, good: dict[str, Any]) -> str:
    """The same for a calibration; its layout, that of openhsi, has no checksums: values may differ."""
    try:
        calibration = read_calibration(path)
    except CalibrationError as error:
        return "found" if str(path) in str(error) else f"an error that does not name the file: {error}"
    return "harmless" if _values_of(calibration) == good else "differs"


def everything_of(path: Path) -> dict[str, Any]:
    """Contents of a calibration, converted for comparison."""
    return _values_of(read_calibration(path))


def _values_of(calibration: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in calibration.items()}


# ---- readers --------------------------------------------------------------------------------


@dataclass
class Verdicts:
    """Results for all mutants."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """Wrong data, crashes, hangs, unexpected errors."""

    def note(self, description: str, verdict: str) -> None:
        is_good = verdict in ("found", "harmless", "differs")
        self.counts[verdict if is_good else "fault"] += 1
        if not is_good:
            self.faults.append(f"{description}: {verdict}")

    def __str__(self) -> str:
        return f"{self.counts.total()} mutants: {dict(self.counts)}\n" + "\n".join(self.faults[:20])


def read_all(originals: Sequence[Original], numbers: Sequence[int], check: Callable[..., str]) -> Verdicts:
    """Read mutants in a child, and in another one if it crashes; `numbers` are distributed to the originals."""
    verdicts = Verdicts()
    left = list(numbers)
    while left:
        with child(_read_mutants, originals, left, check) as (process, connection):
            for description, verdict in _answers(connection):
                left.pop(0)
                verdicts.note(description, verdict)
            process.join(HANG_TIMEOUT_S)
            if left:
                number = left.pop(0)
                description, _ = mutant(originals[number % len(originals)], number)
                verdicts.note(description, f"the reader ended with {process.exitcode}")
    return verdicts


def _answers(connection: Any) -> Iterator[tuple[str, str]]:
    while connection.poll(2 * HANG_TIMEOUT_S):
        try:
            yield connection.recv()
        except EOFError:
            return


def _read_mutants(
    connection: Any, originals: Sequence[Original], numbers: Sequence[int], check: Callable[..., str]
) -> None:
    limit_memory()
    readings = {check_cube: everything_in, check_foreign: structure_of, check_calibration: everything_of}
    good = [readings[check](original.path) for original in originals]
    for count, number in enumerate(numbers, 1):
        original = originals[number % len(originals)]
        description, content = mutant(original, number)
        # a unique name: a library that keeps the last file open would take this one for it
        path = original.path.with_name(f"mutant-{number}{original.path.suffix}")
        path.write_bytes(content)
        faulthandler.dump_traceback_later(HANG_TIMEOUT_S, exit=True)
        verdict = _verdict(check, path, good[number % len(originals)])
        if count % GOOD_FILE_INTERVAL == 0 or count == len(numbers):
            again = _verdict(check, original.path, good[number % len(originals)])
            if again != "harmless":
                verdict = f"after this one, its good original is no longer read as good: {again}"
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
        connection.send((description, verdict))


def _verdict(check: Callable[..., str], path: Path, good: dict[str, Any]) -> str:
    try:
        return check(path, good)
    except Exception as error:  # noqa: BLE001 - not swallowed: it is the verdict
        return f"an unexpected error: {''.join(traceback.format_exception(error)[-3:])}"


def limit_memory() -> None:
    """Limit the memory of this process, as on a small board."""
    import resource

    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MAX_MEMORY_BYTES, now + MAX_MEMORY_BYTES))
