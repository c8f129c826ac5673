"""What the command line shows of a cube, compared with its contents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from openhsi_shared import SharedDataCube
from openhsi_shared.files import CubeWriter
from tests.support.cubes import make_cube, make_groups

Run = Callable[..., Any]


def _rows(ended: Any) -> dict[str, str]:
    assert ended.code == 0, ended.err
    return {line[:28].strip(): line[28:] for line in ended.out.splitlines()[1:]}


def test_size_ids_loss_and_settings_are_told(run_apart: Run, cubes: list[Path]) -> None:
    ended = run_apart("info", cubes[1])
    rows = _rows(ended)
    assert ended.out.splitlines()[0] == str(cubes[1])
    assert rows["along-track"] == "8 lines"
    assert rows["cross-track"] == "16 pixels"
    assert rows["wavelength"].startswith("48 bands")
    assert rows["pixel"].startswith("uint16, 0.0 MB")
    assert rows["level"] == "-1"
    assert rows["frame ids"] == "8 to 15"
    assert rows["lost"] == "0 lines before or within"
    assert rows["settings resolution"] == "[16, 48]"
    assert rows["complete"] == "1"


def test_the_times_are_those_of_the_first_and_the_last_line(run: Run, cubes: list[Path]) -> None:
    with netCDF4.Dataset(cubes[0]) as dataset:
        dataset["time"].set_auto_maskandscale(False)
        first, last = (np.datetime64(int(dataset["time"][at]), "ns") for at in (0, -1))
    words = _rows(run("info", cubes[0]))["time"]
    for time in (first, last):
        assert str(time.astype("datetime64[ms]")).replace("T", " ") in words


def test_loss_may_be_allowed_and_what_was_lost_is_told_with_its_ids(record: Run, run: Run, tmp_path: Path) -> None:
    ended = record("--lines", 8, "--cubes", 1, "--option", 'script={"3": "gap"}', "--allow-loss")
    assert (ended.code, "lost      1" in ended.out) == (0, True), ended.err
    (cube,) = (tmp_path / "flight").rglob("*.nc")
    assert _rows(run("info", cube))["lost"] == "1 lines before or within (frame ids 3)"


def test_lines_that_were_overwritten_are_told(run: Run, tmp_path: Path) -> None:
    with SharedDataCube(2, resolution=(4, 8)) as cube:
        for value in range(3):
            cube.put(np.full((4, 8), value, np.uint16))
        path = cube.save(tmp_path).result().path
    assert _rows(run("info", path))["overwritten"] == "1 lines, by later ones"


def test_groups_are_listed_with_what_is_in_them(run: Run, tmp_path: Path) -> None:
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        path = writer.write(make_cube(groups=make_groups()), [tmp_path]).path
    rows = _rows(run("info", path))
    assert rows["group /imu"] == "4 variables, 5 attributes"
    assert rows["/imu/samples"] == "float64 (time: 11, axis: 3), m s-2"
    assert rows["/imu:source"] == "IMU"
    assert rows["/marks/text"] == "text (mark: 3)"
    assert rows["group /marks"] == "2 variables, 1 groups"
    assert rows["group /marks/of_user"] == "1 variables, 1 attributes"
    content = bytearray(path.read_bytes())
    content[content.index("B\u00e4ume".encode())] ^= 1
    path.write_bytes(content)
    rows = _rows(run("info", path))
    assert "the variable text of the group /marks is damaged" in rows["/marks/text"]
    assert rows["/marks/time"].startswith("int64 (mark: 3)")


def test_a_cube_of_openhsi_has_fewer_rows(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "theirs.nc"
    with netCDF4.Dataset(path, "w") as dataset:
        for name, size in (("x", 3), ("y", 5), ("wavelength", 4)):
            dataset.createDimension(name, size)
            dataset.createVariable(name, "f8", (name,))[:] = np.arange(size)
        dataset.createVariable("datacube", "i4", ("x", "y", "wavelength"))[:] = 7
    rows = _rows(run("info", path))
    assert rows["along-track"] == "5 lines"
    assert rows["cross-track"] == "3 pixels"
    assert rows["lost"] == "unknown: not recorded in the file"


def test_a_missing_and_a_foreign_file_are_one_line_each(run: Run, tmp_path: Path) -> None:
    (tmp_path / "foreign.nc").write_bytes(b"no cube at all")
    for name in ("nowhere.nc", "foreign.nc"):
        ended = run("info", name)
        assert ended.code == 1
        assert ended.out == ""
        (line,) = ended.err.splitlines()
        assert line.startswith("Error: ")
        assert name in line
