"""`openhsi-shared preview` on many cubes, and the contact sheet of a flight."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from openhsi_shared.files import CubeWriter
from tests.support.cubes import TIME_NS, make_cube
from tests.support.helpers import wait_for

Run = Callable[..., Any]
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], np.uint8)
WAVELENGTHS_NM = np.linspace(400.0, 1000.0, 61)
RANGES_NM = ((640, 670), (530, 590), (450, 510))


def save_flight(folder: Path, n: int) -> list[Path]:
    """Save cubes of 40 lines x 20 pixels, a second apart, each of one colour beside black; names go against time."""
    paths = []
    with CubeWriter(40, (20, 61), np.uint16) as writer:
        for number in range(n):
            columns = {"time_ns": TIME_NS + 1_000_000_000 * number + 2_000_000 * np.arange(40)}
            cube = make_cube(40, 20, 61, columns=columns, wavelengths_nm=WAVELENGTHS_NM)
            spectrum = np.zeros(61, np.uint16)
            for share, (low, high) in zip(COLOURS[number % 4], RANGES_NM, strict=True):
                spectrum[(low <= WAVELENGTHS_NM) & (high >= WAVELENGTHS_NM)] = 16 * int(share)
            cube.memory[:] = spectrum
            cube.memory[:, :10] = 0
            written = writer.write(cube, [folder])
            paths.append(written.path.rename(folder / f"{n - number:02d}.nc"))
    return paths


def test_many_cubes_at_once_and_a_sheet_of_all(run_apart: Run, tmp_path: Path) -> None:
    paths = save_flight(tmp_path, 6)
    ended = run_apart("preview", tmp_path, "--sheet", "overview/sheet.png", "--out", "pictures", "--jobs", 3)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [f"pictures/{n:02d}.png" for n in range(1, 7)] + ["overview/sheet.png"]
    for number, path in enumerate(paths):
        pixels = np.asarray(Image.open(tmp_path / "pictures" / f"{path.stem}.png"))
        assert pixels.shape == (20, 40, 3)
        assert (pixels[10:] == COLOURS[number % 4]).all()
        assert (pixels[:10] == 0).all()
    sheet = np.asarray(Image.open(tmp_path / "overview" / "sheet.png"))
    firsts = [np.argwhere((sheet == colour).all(axis=-1))[0].tolist() for colour in COLOURS]
    assert firsts == sorted(firsts), "they stand in the order of their times"


@pytest.mark.parametrize(("is_empty", "jobs"), [(True, 1), (False, 2)])
def test_a_broken_cube_is_named_and_has_an_empty_place_on_the_sheet(
    run: Run, tmp_path: Path, is_empty: bool, jobs: int
) -> None:
    save_flight(tmp_path, 3)
    broken = tmp_path / "02.nc"
    if is_empty:
        broken.unlink()
        with h5py.File(broken, "w") as file:
            file.create_dataset("datacube", (20, 0, 61), np.uint16)
    else:
        broken.write_bytes(b"no cube")
    ended = run("preview", tmp_path, "--sheet", "sheet.png", "--jobs", jobs)
    assert ended.code == 1
    assert ended.out.splitlines() == [str(tmp_path / "01.png"), str(tmp_path / "03.png"), "sheet.png"]
    assert f"{tmp_path / '02.nc'}: " in ended.err
    assert "Traceback" not in ended.err
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (sheet == COLOURS[0]).all(axis=-1).sum() > 1000
    assert (sheet == COLOURS[1]).all(axis=-1).sum() == 0


def test_bands_and_stretch_may_be_chosen(run: Run, tmp_path: Path) -> None:
    (path,) = save_flight(tmp_path, 1)
    chosen = run("preview", path, "--bands", "450-510,530-590,650")
    assert chosen.code == 0, chosen.err
    assert np.asarray(Image.open(path.with_suffix(".png")))[15, 5].tolist() == [0, 0, 255]
    assert run("preview", path, "--robust", 5).code == 0
    assert run("preview", path, "--hist-eq").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--robust", 2, "--hist-eq"), "mutually exclusive"),
        (("--robust", 60), "must be True or a percentile"),
        (("--bands", "640,550"), "is not RED,GREEN,BLUE"),
        (("--bands", "640,550,blue"), "is not RED,GREEN,BLUE"),
        (("--bands", "670-640,550,470"), "(first, last)"),
        (("--sheet", "sheet.jpg"), "ends with .png"),
        (("--sheet", "01.png"), "is the preview of one of the cubes"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    run: Run, tmp_path: Path, options: tuple[Any, ...], words: str
) -> None:
    save_flight(tmp_path, 1)
    ended = run("preview", "01.nc", *options)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())
    assert list(tmp_path.glob("*.png")) == []


def test_a_foreign_file_is_not_replaced_by_a_sheet(run: Run, tmp_path: Path) -> None:
    save_flight(tmp_path, 1)
    (tmp_path / "notes.png").write_text("of the flight")
    ended = run("preview", "01.nc", "--sheet", "notes.png")
    assert ended.code == 1
    assert "the existing file is not a PNG" in ended.err
    assert (tmp_path / "notes.png").read_text() == "of the flight"


def test_a_directory_that_cannot_be_made_is_one_line(run: Run, tmp_path: Path) -> None:
    save_flight(tmp_path, 1)
    ended = run("preview", "01.nc", "--out", "01.nc/pictures")
    assert ended.code == 1
    assert ended.err == "Error: --out 01.nc/pictures cannot be created: Not a directory\n"


def test_ctrl_c_ends_it_without_a_rest(start: Callable[..., Any], tmp_path: Path) -> None:
    save_flight(tmp_path, 60)
    with start("preview", ".", "--jobs", 2) as process:
        wait_for(lambda: list(tmp_path.glob("*.png")) or process.poll() is not None, 60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert not list(tmp_path.glob(".*.tmp"))
    for picture in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(picture)).shape == (20, 40, 3)
