"""Whether damage is found, and reported by the exit code."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4

Run = Callable[..., Any]


def _damage(path: Path) -> None:
    """Turn one bit of a pixel around: the last byte of the third line, which counting frames fill with data."""
    data = bytearray(path.read_bytes())
    with_lines = _where_lines_are(path)
    data[with_lines + 3 * 16 * 48 * 2 - 1] ^= 1
    path.write_bytes(data)


def _where_lines_are(path: Path) -> int:
    import h5py

    with h5py.File(path) as file:
        return int(file["datacube"].id.get_chunk_info(0).byte_offset)


def test_whole_cubes_are_whole(run_apart: Run, cubes: list[Path]) -> None:
    ended = run_apart("verify", *cubes)
    assert ended.code == 0, ended.err
    assert ended.out == "2 of 2 cubes are intact\n"


def test_a_directory_means_all_cubes_below_it(run: Run, cubes: list[Path]) -> None:
    assert run("verify", "flight", "flight").out == "2 of 2 cubes are intact\n"
    assert run("verify", "flight").out == "2 of 2 cubes are intact\n"


def test_one_turned_bit_is_found_and_named(run: Run, cubes: list[Path]) -> None:
    _damage(cubes[1])
    ended = run("verify", "flight")
    assert ended.code == 1
    *problems, result = ended.out.splitlines()
    assert result == "1 of 2 cubes are intact"
    assert problems
    assert all(cubes[1].name in problem for problem in problems)
    assert "2" in problems[0].removeprefix(str(cubes[1]))  # the third line


def test_a_missing_a_foreign_and_a_truncated_file_are_problems(run: Run, cubes: list[Path], tmp_path: Path) -> None:
    (tmp_path / "foreign.nc").write_bytes(b"no cube at all")
    shutil.copy(cubes[0], tmp_path / "short.nc")
    with (tmp_path / "short.nc").open("r+b") as file:
        file.truncate(cubes[0].stat().st_size // 2)
    ended = run("verify", "nowhere.nc", "foreign.nc", "short.nc", cubes[0])
    assert ended.code == 1
    assert ended.out.splitlines()[-1] == "1 of 4 cubes are intact"
    for name in ("nowhere.nc", "foreign.nc", "short.nc"):
        assert f"{name}: " in ended.out


def test_a_directory_without_cubes_is_a_problem(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = run("verify", "empty")
    assert ended.code == 1
    assert "empty: no cube (*.nc) in this directory" in ended.out


def test_what_was_added_is_named_and_is_no_problem(run: Run, cubes: list[Path]) -> None:
    with netCDF4.Dataset(cubes[1], "a") as dataset:
        dataset.createVariable("lat", "f8", ("y",))[:] = 1
        dataset.createGroup("gps").createVariable("lat", "f8", ("y",))[:] = 1
    ended = run("verify", *cubes)
    assert ended.code == 0, ended.err
    assert f"{cubes[1]}: added by another program, without checksums: lat, gps, /gps/lat\n" in ended.out
    assert ended.out.endswith("2 of 2 cubes are intact\n")
