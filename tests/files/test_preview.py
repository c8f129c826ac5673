"""Preview pictures of saved cubes."""

import errno
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from openhsi_shared.cli.preview import preview
from openhsi_shared.dataset import Cube
from openhsi_shared.errors import ArgumentError, ChecksumError, FileError, OpenHSIError, PreviewError
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.preview import preview_of, preview_path, write_preview
from openhsi_shared.rgb import preview_bands, thinned

WAVELENGTHS_NM = np.linspace(400, 1000, 121)
RANGES_NM = ((640, 670), (530, 590), (450, 510))
ORDERS = [("x", "y", "wavelength"), ("wavelength", "x", "y")]


def random_picture(shape=(20, 30, 3)):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def spectra_of(colours):
    """Pixels (cross-track, along-track, wavelength) that have `colours` in the ranges of a preview, and 0 elsewhere."""
    values = np.zeros((*colours.shape[:2], 121), np.uint16)
    for channel, (low, high) in enumerate(RANGES_NM):
        inside = (low <= WAVELENGTHS_NM) & (high >= WAVELENGTHS_NM)
        values[..., inside] = colours[..., channel, None].astype(np.uint16) * 16
    return values


def save_scene(path, colours, order=ORDERS[0], wavelengths=WAVELENGTHS_NM):
    """Save a scene with `colours` (cross-track, along-track, 3) as openhsi would, with netCDF4 only."""
    n_cross, n_lines, _ = colours.shape
    values = spectra_of(colours)
    path.parent.mkdir(parents=True, exist_ok=True)
    with netCDF4.Dataset(path, "w") as dataset:
        for name, length in (("wavelength", 121), ("x", n_cross), ("y", n_lines), ("time", n_lines)):
            dataset.createDimension(name, length)
        dataset.createVariable("wavelength", "f8", ("wavelength",))[:] = wavelengths
        dataset["wavelength"].units = "nanometers"
        dataset.createVariable("x", "i8", ("x",))[:] = np.arange(n_cross)
        dataset.createVariable("y", "i8", ("y",))[:] = np.arange(n_lines)
        time = dataset.createVariable("time", "i8", ("time",))
        time.units, time.calendar = "nanoseconds since 2024-05-01T12:00:00", "proleptic_gregorian"
        time[:] = np.arange(n_lines) * 2_000_000
        cube = dataset.createVariable("datacube", "u2", order)
        cube.units, cube.long_name = "digital number", "hyperspectral datacube"
        cube[:] = values if order == ORDERS[0] else np.moveaxis(values, -1, 0)
    return path


def scene(n_cross=6, n_lines=9):
    colours = np.zeros((n_cross, n_lines, 3), np.uint8)
    colours[0, 0], colours[5, 1], colours[2, 8], colours[4, 4] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 99, 199)
    return colours


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


# ---- the file of a picture --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30), (1, 1), (1, 7, 3)])
def test_every_pixel_is_in_the_file_and_nothing_around_it(tmp_path, shape):
    image = random_picture(shape)
    assert write_preview(image, tmp_path / "flight.png") == tmp_path / "flight.png"
    assert np.array_equal(pixels_of(tmp_path / "flight.png"), image)
    assert [path.name for path in tmp_path.iterdir()] == ["flight.png"]


def test_a_picture_is_replaced_by_a_newer_one(tmp_path):
    path = tmp_path / "flight.png"
    write_preview(random_picture(), path)
    write_preview(random_picture()[::-1], path)
    assert np.array_equal(pixels_of(path), random_picture()[::-1])


@pytest.mark.parametrize("content", [b"", b"notes of the flight", b"\x89PN"])
def test_a_foreign_file_is_left_alone(tmp_path, content):
    path = tmp_path / "flight.png"
    path.write_bytes(content)
    with pytest.raises(PreviewError, match=r"the existing file is not a PNG: move it.*flight\.png") as caught:
        write_preview(random_picture(), path)
    assert caught.value.errno == errno.EEXIST
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["directory", "dangling link", "fifo"])
def test_what_is_no_file_is_left_alone(tmp_path, kind):
    path = tmp_path / "flight.png"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    with pytest.raises(PreviewError, match="not a PNG"):
        write_preview(random_picture(), path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_vanished_directory_is_named_with_its_errno(tmp_path):
    path = tmp_path / "gone" / "flight.png"
    with pytest.raises(PreviewError, match=r"gone/flight\.png") as caught:
        write_preview(random_picture(), path)
    assert isinstance(caught.value, OSError)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(path))


@contextmanager
def small_disk():
    """No file may grow beyond 1000 bytes: a write fails as on a full disk, but with EFBIG instead of ENOSPC.

    Only for a block of a test: the limit also holds for the file to which pytest may write its results.
    """
    resource = pytest.importorskip("resource", reason="limits of a process are a matter of POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_leaves_the_old_picture_and_no_rest(tmp_path):
    path = tmp_path / "flight.png"
    write_preview(random_picture((5, 5)), path)
    with small_disk(), pytest.raises(PreviewError, match=r"File too large: .*flight\.png") as caught:
        write_preview(random_picture(), path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert np.array_equal(pixels_of(path), random_picture((5, 5)))
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_name_is_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    write_preview(random_picture(), path)
    assert path.exists()


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 5)), np.zeros((4, 5, 4), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 5), np.uint8), np.uint8(3)],
)
def test_what_is_no_picture_is_refused(tmp_path, image):
    with pytest.raises(ArgumentError, match=r"a picture is uint8 of \(rows, columns\).*flight\.png"):
        write_preview(np.asarray(image), tmp_path / "flight.png")
    assert list(tmp_path.iterdir()) == []


def test_two_threads_may_write_the_same_picture(tmp_path):
    path = tmp_path / "flight.png"
    threads = [threading.Thread(target=write_preview, args=(random_picture(), path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(pixels_of(path), random_picture())
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_lies_beside_its_cube_or_where_it_is_wanted(tmp_path):
    assert preview_path("day/flight_v1.2.nc") == Path("day/flight_v1.2.png")
    assert preview_path("day/flight.nc", tmp_path) == tmp_path / "flight.png"
    assert preview_path("day/flight.nc", tmp_path / "mine.png") == tmp_path / "mine.png"


# ---- pictures of cubes ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_the_colours_of_a_saved_cube_are_at_their_places(tmp_path, order):
    cube = save_scene(tmp_path / "flight.nc", scene(), order)
    assert preview_of(cube) == tmp_path / "flight.png"
    assert np.array_equal(pixels_of(tmp_path / "flight.png"), scene())


def test_a_cube_without_wavelengths_is_grey(tmp_path):
    cube = save_scene(tmp_path / "flight.nc", scene(), wavelengths=np.arange(121))
    pixels = pixels_of(preview_of(cube))
    assert pixels.shape == (6, 9)
    assert sorted(zip(*np.nonzero(pixels), strict=True)) == [(0, 0), (2, 8), (4, 4), (5, 1)]


def test_a_long_cube_is_decimated(tmp_path):
    colours = np.zeros((2, 4100, 3), np.uint8)
    colours[:, ::2, 0] = np.arange(2050) % 256
    pixels = pixels_of(preview_of(save_scene(tmp_path / "flight.nc", colours)))
    assert np.array_equal(pixels, colours[:, ::2])


def test_colours_stretch_and_place_may_be_chosen(tmp_path):
    cube = save_scene(tmp_path / "flight.nc", scene())
    path = preview_of(cube, tmp_path / "mine.png", ranges=((450, 510), (530, 590), (640, 670)))
    assert np.array_equal(pixels_of(path), scene()[..., ::-1])
    with pytest.raises(ArgumentError, match="mutually exclusive"):
        preview_of(cube, robust=True, hist_eq=True)


@pytest.mark.parametrize("old_style", [True, False])
def test_a_cube_of_ours_gives_the_picture_that_its_writer_makes(tmp_path, old_style):
    cube = Cube(
        memory=np.ascontiguousarray(spectra_of(scene()).swapaxes(0, 1)),
        first=4,
        n_lines=9,
        columns={"time_ns": np.arange(9) + 10**18},
        wavelengths_nm=WAVELENGTHS_NM,
        uuid="one",
    )
    with CubeWriter(9, (6, 121), np.uint16) as writer:
        written = writer.write(cube, [tmp_path], old_style=old_style)
    expected = np.roll(scene(), -4, axis=1)  # the oldest line comes first
    assert np.array_equal(written.picture, expected)
    assert np.array_equal(pixels_of(preview_of(written.path)), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("wavelengths", [np.linspace(400, 1000, 500), None])
def test_of_many_bands_both_show_the_same_few(tmp_path, dtype, wavelengths):
    pixels = (np.random.default_rng(0).random((12, 20, 500)) * 4095).astype(dtype)
    cube = Cube(
        memory=pixels,
        n_lines=12,
        columns={"time_ns": np.arange(12) + 10**18},
        wavelengths_nm=wavelengths,
        uuid="one",
    )
    with CubeWriter(12, (20, 500), dtype) as writer:
        written = writer.write(cube, [tmp_path])
    assert np.array_equal(pixels_of(preview_of(written.path)), written.picture)
    bands = thinned(preview_bands(wavelengths, 500))
    assert sum(len(range(500)[band]) for band in bands) <= 48
    assert np.allclose(written.means, np.stack([pixels[..., band].mean(-1) for band in bands], -1), rtol=1e-6)


def test_a_damaged_line_is_named_instead_of_shown(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (5, 6, 121), dtype=np.uint16)
    cube = Cube(memory=pixels, n_lines=5, columns={"time_ns": np.arange(5) + 10**18}, uuid="one")
    with CubeWriter(5, (6, 121), np.uint16) as writer:
        path = writer.write(cube, [tmp_path]).path
    content = path.read_bytes()
    at = content.index(pixels[3].tobytes())
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(ChecksumError, match="line 3 is damaged"):
        preview_of(path)
    assert not path.with_suffix(".png").exists()


@pytest.mark.parametrize("content", [b"", b"no cube at all", None])
def test_a_broken_cube_is_an_error_and_leaves_no_picture(tmp_path, content):
    cube = tmp_path / "flight.nc"
    if content is not None:
        cube.write_bytes(content)
    with pytest.raises(FileError, match=r"flight\.nc"):
        preview_of(cube)
    assert not (tmp_path / "flight.png").exists()


# ---- the command ------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(preview, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_command_makes_a_picture_beside_each_cube_of_a_directory(tmp_path):
    cubes = [save_scene(tmp_path / "2024_05_01" / f"{k}.nc", scene()) for k in range(3)]
    (tmp_path / "2024_05_01" / ".4.nc.123.part").write_bytes(b"of a writer that still writes")
    (tmp_path / "2024_05_01" / ".5.nc").write_bytes(b"hidden")
    result = run(tmp_path)
    assert result.exit_code == 0
    assert result.stdout.split() == [str(cube.with_suffix(".png")) for cube in cubes]
    for cube in cubes:
        assert np.array_equal(pixels_of(cube.with_suffix(".png")), scene())


def test_the_command_puts_pictures_where_they_are_wanted(tmp_path):
    cube = save_scene(tmp_path / "flight.nc", scene())
    assert run(cube, "--out", tmp_path / "pictures" / "new").exit_code == 0
    assert np.array_equal(pixels_of(tmp_path / "pictures" / "new" / "flight.png"), scene())
    assert not cube.with_suffix(".png").exists()


def test_the_command_names_the_broken_cube_and_makes_the_others(tmp_path):
    cubes = [save_scene(tmp_path / f"{name}.nc", scene()) for name in "ac"]
    (tmp_path / "b.nc").write_bytes(b"no cube")
    result = run(tmp_path, tmp_path / "missing.nc")
    assert result.exit_code == 1
    assert all(cube.with_suffix(".png").exists() for cube in cubes)
    complaints = [line for line in result.stderr.splitlines() if line]
    assert len(complaints) == 2
    assert str(tmp_path / "b.nc") in complaints[0]
    assert str(tmp_path / "missing.nc") in complaints[1]


def test_the_command_says_which_pictures_it_could_not_write(tmp_path):
    cube = save_scene(tmp_path / "flight.nc", scene())
    cube.with_suffix(".png").write_text("foreign")
    result = run(cube)
    assert result.exit_code == 1
    assert "the existing file is not a PNG" in result.stderr


def test_the_command_refuses_to_put_two_cubes_into_one_picture(tmp_path):
    cubes = [save_scene(tmp_path / day / "flight.nc", scene()) for day in ("monday", "tuesday")]
    result = run(*cubes, "--out", tmp_path / "pictures")
    assert result.exit_code == 1
    assert result.stderr.count("2 cubes have the same preview") == 2
    assert list((tmp_path / "pictures").iterdir()) == []
    assert run(*cubes).exit_code == 0


def test_the_command_takes_a_cube_that_is_named_twice_once(tmp_path):
    cube = save_scene(tmp_path / "flight.nc", scene())
    result = run(cube, tmp_path, "--out", tmp_path / "pictures")
    assert result.exit_code == 0
    assert len(result.stdout.split()) == 1


def test_a_directory_without_cubes_is_an_error(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path}: no cube" in result.stderr


def test_an_out_that_cannot_be_made_is_an_error(tmp_path):
    cube = save_scene(tmp_path / "flight.nc", scene())
    (tmp_path / "file").write_text("")
    result = run(cube, "--out", tmp_path / "file" / "below")
    assert result.exit_code == 1
    assert "cannot be created: Not a directory" in result.stderr


def test_the_command_without_arguments_says_what_it_wants():
    result = run()
    assert result.exit_code == 2
    assert "FILE_OR_DIR..." in result.stderr


def test_every_error_is_of_our_tree():
    assert issubclass(PreviewError, OpenHSIError)
    assert issubclass(PreviewError, OSError)
