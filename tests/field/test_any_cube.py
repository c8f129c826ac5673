"""Properties of any cube that others selected, sorted, packed and wrote again: as xarray reads it, or refused."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from openhsi_shared import ProcessDatacube, SharedReplayCamera, open_cube
from openhsi_shared.errors import OpenHSIError
from tests.support.foreign import openhsi_cube, put, scene

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is missing: pip install 'openhsi_shared[test]'")
from hypothesis import strategies as st  # noqa: E402

AXES = ("y", "x", "wavelength")
N_LINES = 9
OPTIONS = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(hypothesis.HealthCheck),
}


def some_of(n):
    """Which of n elements: a range with a step, or a list in any order."""
    slices = st.builds(slice, st.integers(0, n - 1), st.integers(1, n), st.sampled_from([1, 2, 3]))
    backwards = st.just(slice(None, None, -1))
    lists = st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True)
    return st.one_of(st.just(slice(None)), slices, backwards, lists).filter(lambda item: len(np.arange(n)[item]) > 0)


NUMBERS = st.sampled_from([None, 1, 0.5, 1e-4, 3.0, np.float32(0.1), np.float64(0.1), np.int16(2)])
PACKINGS = st.fixed_dictionaries(
    {},
    optional={
        "scale_factor": NUMBERS.filter(lambda number: number is not None),
        "add_offset": NUMBERS.filter(lambda number: number is not None),
        "fill": st.sampled_from(["_FillValue", "missing_value", "both"]),
        "_Unsigned": st.sampled_from(["true", "false"]),
    },
)
TYPES = st.sampled_from(["u1", "i1", "u2", "i2", ">u2", "u4", "i4", "i8", "f4", "f8"])


@st.composite
def edits(draw):
    """What a user does to a cube with xarray before it is written again."""
    return {
        "is_ours": draw(st.booleans()),
        "select": {axis: draw(some_of(n)) for axis, n in zip(AXES, (N_LINES, 5, 7), strict=True)},
        "time_too": draw(st.booleans()),
        "order": draw(st.permutations(AXES)),
        "dtype": draw(TYPES),
        "packing": draw(PACKINGS),
        "engine": draw(st.sampled_from(["netcdf4", "h5netcdf"])),
        "compressed": draw(st.booleans()),
        "unlimited": draw(st.booleans()),
    }


def cube_like_ours():
    """Columns lie on the axis of the lines."""
    cube = openhsi_cube(scene(N_LINES))
    columns = {name: ("y", cube[name].values) for name in ("time", "temperature")}
    return cube.drop_vars(list(columns)).assign_coords(columns)


def write(edit, folder):
    """Write an edited cube; return its path, and the true time of each line."""
    cube = cube_like_ours() if edit["is_ours"] else openhsi_cube(scene(N_LINES))
    true = cube.time.values[edit["select"]["y"]]
    cube = cube.isel(edit["select"])
    if not edit["is_ours"] and edit["time_too"]:
        cube = cube.isel(time=edit["select"]["y"])
    cube = cube.transpose(*edit["order"], ...)
    stored = cube.datacube.values.astype(edit["dtype"])
    packing = dict(edit["packing"])
    fill = packing.pop("fill", None)
    if fill and "_Unsigned" in packing:
        fill = "_FillValue"  # of missing_value, xarray does not change the sign
    for name in () if fill is None else ("_FillValue", "missing_value") if fill == "both" else (fill,):
        packing[name] = stored.reshape(-1)[0]
    if np.dtype(edit["dtype"]).kind == "f":
        packing.pop("_Unsigned", None)
    cube["datacube"] = (cube.datacube.dims, stored, packing)  # as stored: xarray packs nothing itself
    how = {"datacube": {"zlib": True}} if edit["compressed"] else {}
    options = {"unlimited_dims": ["y"]} if edit["unlimited"] else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return put(cube, folder / "edited.nc", engine=edit["engine"], encoding=how, **options), true


def check_as_xarray_reads_it(edit):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of xarray, about several fill values
        path, true = write(edit, Path(folder))
        with xr.open_dataset(path) as theirs, open_cube(path) as cube:
            try:
                expected = theirs.datacube.transpose(*AXES).load()
            except (ValueError, TypeError):  # xarray cannot: a whole number as scale_factor, and missing numbers
                np.asarray(cube.lines)
                return
            assert cube.lines.dtype == expected.dtype
            assert np.array_equal(cube.lines, expected, equal_nan=True)
            assert np.array_equal(cube.dataset.datacube.transpose(*AXES), expected, equal_nan=True)
            assert cube.times_ns is None or np.array_equal(cube.times_ns.astype("datetime64[ns]"), true)
            assert not edit["is_ours"] or cube.times_ns is not None
            assert np.array_equal(cube.wavelengths_nm, theirs.wavelength) or len(theirs.wavelength) == 1


def check_replay_and_processing(edit):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, true = write(edit, Path(folder))
        with open_cube(path) as cube:
            expected = np.asarray(cube.lines)
        for camera in (
            lambda: SharedReplayCamera(path=path, rate=None, n_lines=len(expected)),
            lambda: ProcessDatacube(path),
        ):
            try:
                with camera() as made:
                    made.collect()
                    saved = made.save(Path(folder) / "made").result().path
            except OpenHSIError:
                continue
            with open_cube(saved) as cube:
                assert np.array_equal(cube.lines, expected, equal_nan=True)
                is_replay = "source_file" not in cube.attributes
                assert is_replay or np.array_equal(cube.times_ns.astype("datetime64[ns]"), true)


def test_a_cube_that_was_edited_is_what_xarray_reads():
    hypothesis.settings(max_examples=20, **OPTIONS)(hypothesis.given(edits())(check_as_xarray_reads_it))()


def test_a_cube_that_was_edited_is_replayed_and_processed_as_xarray_reads_it():
    hypothesis.settings(max_examples=2, **OPTIONS)(hypothesis.given(edits())(check_replay_and_processing))()


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("check", "n"), [(check_as_xarray_reads_it, 3000), (check_replay_and_processing, 150)])
def test_many_cubes_that_were_edited(check, n):
    options = OPTIONS | {"derandomize": False}
    hypothesis.settings(max_examples=n, **options)(hypothesis.given(edits())(check))()
