"""Whether the command exports what it is given, and its exit code says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared import open_cube, verify

Run = Callable[..., Any]


def test_all_cubes_of_a_directory_are_exported_and_its_folders_kept(
    run_apart: Run, cubes: list[Path], tmp_path: Path
) -> None:
    from spectral.io import envi

    ended = run_apart("export", "flight", "--to", "envi", "--interleave", "bil", "--out", "out")
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) == 2
    for path in cubes:
        made = tmp_path / "out" / path.parent.name / f"{path.stem}.hdr"
        image = envi.open(made)
        assert image.metadata["interleave"] == "bil"
        with open_cube(path) as cube:
            np.testing.assert_array_equal(np.asarray(image.open_memmap(interleave="bip")), cube.lines[:])


def test_a_cube_that_fails_does_not_stop_the_others(run: Run, cubes: list[Path], tmp_path: Path) -> None:
    (tmp_path / "foreign.nc").write_bytes(b"no cube at all")
    ended = run("export", "foreign.nc", *cubes, "--to", "netcdf", "--bands-first", "--out", "out")
    assert ended.code == 1
    assert "foreign.nc" in ended.err
    assert len(list((tmp_path / "out").iterdir())) == 2
    again = run("export", cubes[0], "--to", "netcdf", "--bands-first", "--out", "out")
    assert again.code == 1
    assert "nothing is overwritten" in again.err
    alone = run("export", "foreign.nc", "--to", "envi", "--out", "other/folder")
    assert alone.code == 1
    assert not (tmp_path / "other").exists()


def test_plain_netcdf_is_a_copy_with_checksums(run: Run, cubes: list[Path], tmp_path: Path) -> None:
    ended = run("export", cubes[0], "--to", "netcdf", "--out", "out")
    assert ended.code == 0, ended.err
    copy = tmp_path / "out" / cubes[0].name
    assert verify(copy).ok
    with open_cube(copy) as found, open_cube(cubes[0]) as cube:
        np.testing.assert_array_equal(found.lines[:], cube.lines[:])
    assert run("export", cubes[0], "--to", "netcdf", "--out", "out").code == 1


def test_options_that_do_not_fit_are_named(run: Run, cubes: list[Path]) -> None:
    ended = run("export", cubes[0], "--to", "zarr", "--interleave", "bsq", "--out", "out")
    assert ended.code == 2
    assert "--interleave bsq is for --to envi" in ended.err
    ended = run("export", cubes[0], "--to", "envi", "--bands-first", "--out", "out")
    assert ended.code == 2
    assert "--bands-first is for --to netcdf" in ended.err
