"""All cubes of a folder are one thing: its lines, times and gaps, with runs told apart."""

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import open_flight
from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.errors import ArgumentError, ChecksumError, FileError
from openhsi_shared.files import CubeWriter
from openhsi_shared.files import flight as flight_module
from tests.files.test_reading import flip, openhsi_file
from tests.support import foreign
from tests.support.cubes import TIME_NS, make_cube

STEP_NS = 2_000_000
ALTITUDE = Column("altitude", "float64", "m", "height above the ground")


def write(directory, ids, run_id="a", seconds=0, **options):
    """Write a cube of a run, with these frame ids and a line each 2 ms from `seconds` on."""
    directory.mkdir(exist_ok=True)
    ids = np.asarray(ids)
    columns = {
        "time_ns": TIME_NS + seconds * 10**9 + ids * STEP_NS,
        "frame_id": ids,
        "altitude": ids / 2,
        "temperature": np.full(len(ids), 20.0, np.float32),
        "camera_time_ns": np.full(len(ids), -1),
    }
    attributes = {"run_id": run_id, "site": "beach"} | options.pop("attributes", {})
    options = {"column_descriptions": (*COLUMNS, ALTITUDE)} | options
    cube = make_cube(len(ids), **{"x": 4, "bands": 6} | options, columns=columns, attributes=attributes)
    for line, number in zip(cube.memory, ids, strict=True):
        line[:] = number + 1000 * seconds
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        return writer.write(cube, [directory], picture=False).path


@pytest.fixture
def folder(tmp_path):
    """Two runs: of the first, a line is missing in the second cube, and three before it."""
    write(tmp_path, [*range(18, 22), *range(23, 25)])
    write(tmp_path, range(10, 15))
    write(tmp_path, range(7), "b", 30)
    return tmp_path


def n_open_files():
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.exists() else 0


NUMBERS = [*range(10, 15), *range(18, 22), 23, 24, *range(30_000, 30_007)]


def test_lines_of_all_cubes_are_one_array_in_the_order_of_runs_and_times(folder):
    with open_flight(folder) as flight:
        assert flight.lines.shape == (18, 4, 6)
        assert flight.lines[:, 0, 0].tolist() == NUMBERS
        assert flight.lines[[17, 0, 6], 2, 1].tolist() == [30_006, 10, 19]
        out = np.empty((9, 4, 6), np.uint16)
        assert flight.lines.read_into(3, 12, out).all()
        assert out[:, 3, 5].tolist() == NUMBERS[3:12]
        assert flight.frame_ids.tolist() == [*NUMBERS[:11], *range(7)]
        assert flight.times[5] == np.datetime64(TIME_NS + 18 * STEP_NS, "ns")
        assert (flight.level, flight.wavelengths_nm) == (-1, None)
        assert [flight.cube_of(line) for line in (0, 4, 5, 17)] == [(0, 0), (0, 4), (1, 0), (2, 6)]
        with pytest.raises(IndexError, match="18 lines"):
            flight.cube_of(18)


def test_cubes_are_counted_chosen_and_iterated(folder):
    with open_flight(folder) as flight:
        assert len(flight) == 3
        assert [len(cube.lines) for cube in flight] == [5, 6, 7]
        assert flight[-1].lines[0, 0, 0] == 30_000
        assert flight[1:].lines[:, 0, 0].tolist() == NUMBERS[5:]
        assert [cube.path for cube in flight] == list(flight.paths)
        with pytest.raises(IndexError):
            flight[3]
        with pytest.raises(IndexError, match="no cube"):
            flight[2:2]
        assert repr(flight) == "<Flight of 3 cubes in 2 runs: (18, 4, 6) uint16, level -1>"


def test_gaps_within_and_between_the_cubes_of_a_run_are_found(folder):
    with open_flight(folder) as flight:
        between, within = flight.gaps
        assert (between.line, between.is_between_cubes, between.path) == (5, True, flight.paths[1])
        assert (between.first_id, between.last_id, between.n_lines) == (15, 17, 3)
        assert between.seconds == pytest.approx(0.008)
        assert within[:6] == (9, flight.paths[1], False, 22, 22, 1)
        assert type(within.is_between_cubes) is bool  # for JSON
        assert [run.lines[:, 0, 0].tolist() for run in flight.runs] == [NUMBERS[:11], NUMBERS[11:]]
        assert flight.runs[1].gaps == ()


def test_lines_that_were_binned_are_no_gaps(tmp_path):
    write(tmp_path, [0, 2, 4, 6, 10])
    write(tmp_path, [12, 14, 20])
    with open_flight(tmp_path) as flight:
        assert [(gap.line, gap.n_lines) for gap in flight.gaps] == [(4, 1), (7, 2)]


@pytest.mark.parametrize(
    ("about", "missing"),
    [
        ({"lines_lost": 4}, [1, 1, 1, 1]),
        ({"source_lines_lost": 4, "source_lines": '{"lines_per_result": 1}'}, [1, 1, 1, 1]),
        ({"source_lines_lost": 0, "source_lines": '{"lines_per_result": 2}'}, []),
        ({}, []),
    ],
)
def test_a_recording_that_lost_every_second_line_has_gaps(tmp_path, about, missing):
    write(tmp_path, [0, 2, 4, 6, 8], attributes=about)
    with open_flight(tmp_path) as flight:
        assert [gap.n_lines for gap in flight.gaps] == missing


def test_gaps_of_cubes_without_frame_ids_are_those_of_their_times(tmp_path):
    values = np.stack(list(make_cube().lines()))
    openhsi_file(tmp_path / "a.nc", values, True)
    with xr.open_dataset(openhsi_file(tmp_path / "b.nc", values, True)) as first:
        later = first.assign_coords(time=first.time + np.timedelta64(1, "s")).load()
    later.to_netcdf(tmp_path / "b.nc")
    with open_flight(tmp_path) as flight:
        [gap] = flight.gaps
        assert gap[:6] == (6, tmp_path / "b.nc", True, None, None, None)
        assert gap.seconds == pytest.approx(1 - 5 * 0.002, abs=0.01)
        assert flight.frame_ids is None


def test_the_dataset_is_read_on_access_and_needs_no_dask(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    write(folder, range(3), "c", 60, attributes={"site": "dunes"})
    with open_flight(folder) as flight:
        dataset = flight.dataset
        assert dict(dataset.sizes) == {"x": 4, "y": 21, "wavelength": 6}
        assert dataset.datacube.isel(x=0, wavelength=0, y=slice(None, 18)).values.tolist() == NUMBERS
        assert dataset.time.values.tolist() == flight.times.tolist()
        assert dataset.cube.values.tolist() == [0] * 5 + [1] * 6 + [2] * 7 + [3] * 3
        assert dataset.altitude.values[:2].tolist() == [5, 5.5]
        assert dataset.altitude.attrs["units"] == "m"
        assert dataset.y.values.tolist() == list(range(21))
        assert dataset.attrs["level"] == -1
        assert not {"site", "run_id", "uuid"} & dataset.attrs.keys()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x": 5}, r"lines of uint16 \(\d, 6\), but .* uint16 \(\d, 6\)"),
        ({"dtype": np.float32}, "lines of .*float32.*: the cubes of a flight are of one kind"),
        ({"level": 0}, "has level .*, but "),
        ({"wavelengths_nm": 400 + np.arange(6.0)}, "other wavelengths"),
    ],
)
def test_cubes_of_different_kinds_are_refused_by_name(folder, other, message):
    path = write(folder, range(3), "c", 60, **other)
    with pytest.raises(FileError, match=message) as error:
        open_flight(folder)
    assert path.name in str(error.value)


def test_what_is_no_flight_is_one_clear_error(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="empty contains no cube"):
        open_flight(tmp_path / "empty")
    with pytest.raises(ArgumentError, match=r"is no folder: .*open_cube opens one file"):
        open_flight(next(folder.rglob("*.nc")))
    with pytest.raises(ArgumentError, match="is no folder"):
        open_flight(tmp_path / "missing")
    (folder / "broken.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(FileError, match=r"broken\.nc"):
        open_flight(folder)


def test_files_of_another_purpose_and_copies_are_left_out(folder, caplog):
    xr.Dataset({"smile_shifts": ("x", [1, 2])}).to_netcdf(folder / "calibration.nc")
    copied = next(folder.rglob("2023*.nc"))
    shutil.copy(copied, folder / "zz.nc")
    with open_flight(folder) as flight:
        assert len(flight) == 3
    assert "calibration.nc is left out of the flight: it contains no datacube" in caplog.text
    assert "zz.nc is left out of the flight: it is a copy of" in caplog.text


def test_a_damaged_line_is_named_with_its_file(folder):
    with open_flight(folder) as flight:
        path = flight.paths[1]
    with h5py.File(path) as file:
        offset = file["datacube"].id.get_chunk_info_by_coord((0, 2, 0)).byte_offset
    flip(path, offset)
    with open_flight(folder) as flight:
        with pytest.raises(ChecksumError, match=rf"{path.name}: line 2 is damaged"):
            flight.lines[7]
        good = flight.lines.read_into(4, 10, np.empty((6, 4, 6), np.uint16))
        assert good.tolist() == [True, True, True, False, True, True]


def test_few_files_are_open_and_those_that_the_caller_has_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(flight_module, "MAX_OPEN", 2)
    for number in range(6):
        write(tmp_path, range(10 * number, 10 * number + 3))
    n_before = n_open_files()
    with open_flight(tmp_path) as flight:
        mine = flight[0]
        assert flight.lines[:, 0, 0].tolist() == [10 * number + line for number in range(6) for line in range(3)]
        assert mine.lines[1, 0, 0] == 1
        assert flight[0] is mine
        assert n_open_files() <= n_before + 2 * 3
    for read in (lambda: flight.lines[0], lambda: mine.lines[0]):
        with pytest.raises(ArgumentError, match="closed"):
            read()
    assert n_open_files() == n_before


def test_a_cube_that_was_replaced_meanwhile_is_refused(folder):
    with open_flight(folder) as flight:
        write(folder / "new", range(7), "b", 90).replace(flight.paths[2])
        with pytest.raises(FileError, match="was replaced after the flight was opened"):
            flight.lines[12]


def _openhsi(folder, name, seconds=0, **edits):
    cube = foreign.openhsi_cube(foreign.scene(12, np.float32))
    cube = cube.assign_coords(time=cube.time + np.timedelta64(seconds, "s")).isel(**edits)
    foreign.put(cube, folder / name)
    return cube


def test_a_flight_of_openhsi_has_wavelengths_and_the_temperatures_of_its_lines(tmp_path):
    """xarray gives them a _FillValue of NaN, which is not equal to itself."""
    first, second = _openhsi(tmp_path, "a.nc"), _openhsi(tmp_path, "b.nc", 1)
    with open_flight(tmp_path) as flight:
        assert np.array_equal(flight.dataset.wavelength, first.wavelength)
        assert np.array_equal(flight.dataset.time, np.concatenate([first.time, second.time]))
        temperature = flight.dataset.temperature
        assert temperature.dims == ("y",)
        assert np.array_equal(temperature, np.tile(first.temperature, 2))


def test_temperatures_that_do_not_follow_the_lines_are_no_column_of_a_flight(tmp_path):
    some = slice(0, 6)
    _openhsi(tmp_path, "a.nc", y=slice(3, 9), time=some, temperature=some)
    with open_flight(tmp_path) as flight:
        assert np.isnat(flight.times).all()
        assert flight[0].temperatures is None
        assert "temperature" not in flight.dataset or flight.dataset.temperature.dims != ("y",)


def test_radiances_are_not_joined_with_counts_of_the_same_type(tmp_path):
    """The levels 2 and 4 of openhsi differ in nothing else."""
    _openhsi(tmp_path, "a.nc")
    _openhsi(tmp_path, "b.nc", 1)
    with h5py.File(tmp_path / "b.nc", "a") as file:
        file["datacube"].attrs["units"] = "uW/(cm^2 sr nm)"
    with pytest.raises(FileError, match=r"b\.nc has pixels in uW/.*, but .*a\.nc digital number"):
        open_flight(tmp_path)


def test_attributes_of_another_program_are_no_counts_of_a_recording(tmp_path):
    write(tmp_path, [1, 2, 3, 6], attributes={"average": "yes", "frames_paused": "none", "frames_not_wanted": ""})
    with open_flight(tmp_path) as flight:
        assert [(gap.first_id, gap.n_lines) for gap in flight.gaps] == [(4, 2)]
