"""Calibrations that openhsi has pickled are read without running anything of them, and all else is refused."""

import os
import pickle
import subprocess

import numpy as np
import pandas
import pytest
import xarray
from scipy.interpolate import interp1d

from openhsi_shared.calibration import read_calibration, write_calibration
from openhsi_shared.errors import CalibrationError
from tests.support.level_oracle import CALIBRATION


def as_openhsi_has_it(dims=("cross_track", "wavelength_index", "exposure", "luminance")):
    """The dictionary that openhsi pickles."""
    values = {key: value for key, value in CALIBRATION.items() if key[-2:] not in ("_x", "_y")}
    for name in ("sfit", "rad_fit"):
        values[name] = interp1d(CALIBRATION[f"{name}_x"], CALIBRATION[f"{name}_y"], kind="cubic")
    pictures = CALIBRATION["rad_ref"]
    coordinates = {key: value for key, value in CALIBRATION.coordinates.items() if key in dims}
    if dims[0] == "variable":
        pictures, coordinates = pictures[None], coordinates | {"variable": ["datacube"]}
    values["rad_ref"] = xarray.DataArray(pictures, dims=dims, coords=coordinates)
    values["spec_rad_ref_luminance"] = np.float64(52020.0)
    return values


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["calibration.pkl", "calibration.PICKLE"])
def test_what_openhsi_has_pickled_is_read(tmp_path, name, protocol):
    found = read_calibration(write(tmp_path / name, as_openhsi_has_it(), protocol))
    assert set(found) == set(CALIBRATION)
    for key, value in CALIBRATION.items():
        np.testing.assert_array_equal(found[key], value)
        assert np.asarray(found[key]).dtype == np.asarray(value).dtype, key
    assert found.dims["rad_ref"] == CALIBRATION.dims["rad_ref"]
    assert found.coordinates["exposure"].tolist() == [10, 20]
    assert found.levels_served == CALIBRATION.levels_served
    assert len(found.sha256) == 64


def test_the_axis_that_older_pickles_have_in_front_is_dropped(tmp_path):
    dims = ("variable", "cross_track", "wavelength_index", "exposure", "luminance")
    found = read_calibration(write(tmp_path / "old.pkl", as_openhsi_has_it(dims)))
    np.testing.assert_array_equal(found["rad_ref"], CALIBRATION["rad_ref"])
    assert found.dims["rad_ref"] == dims[1:]


def test_a_pickle_becomes_a_file_that_openhsi_reads_too(tmp_path):
    pickled = read_calibration(write(tmp_path / "old.pkl", as_openhsi_has_it()))
    again = read_calibration(write_calibration(pickled, tmp_path / "new.nc"))
    for key, value in CALIBRATION.items():
        np.testing.assert_array_equal(again[key], value)


def test_arrays_keep_their_order_and_their_bytes(tmp_path):
    rows = np.arange(12, dtype=">i4").reshape(3, 4)
    for number, array in enumerate((rows, np.asfortranarray(rows), rows.astype("<i4"), rows.astype(np.float16))):
        path = write(tmp_path / f"{number}.pkl", {"HgAr_pic": array, "wavelengths": np.arange(3.0)})
        found = read_calibration(path)["HgAr_pic"]
        np.testing.assert_array_equal(found, rows)
        assert found.dtype == array.dtype.newbyteorder("=")


def test_words_that_are_coordinates_are_left_out(tmp_path):
    pictures = xarray.DataArray(
        np.zeros((2, 1)), dims=("a", "variable"), coords={"variable": ["datacube"], "a": [1, 2]}
    )
    found = read_calibration(write(tmp_path / "words.pkl", {"rad_ref": pictures}))
    assert found.dims["rad_ref"] == ("a", "variable")
    assert found.coordinates["a"].tolist() == [1, 2]


# ---- refused ---------------------------------------------------------------------------------


class Calls:
    """What a pickle may call when it is opened."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HARM = {
    "system": (os.system, ("touch harmed",)),
    "subprocess": (subprocess.check_call, (["touch", "harmed"],)),
    "eval": (eval, ("open('harmed', 'w')",)),
    "exec": (exec, ("open('harmed', 'w')",)),
    "open": (open, ("harmed", "w")),
    "import": (__import__, ("antigravity",)),
    "numpy": (np.save, ("harmed", np.zeros(3))),
    "scipy": (__import__("scipy.io").io.savemat, ("harmed", {"a": 1})),
    "xarray": (xarray.open_dataset, ("harmed",)),
    "load": (pickle.loads, (b"cos\nsystem\n(S'touch harmed'\ntR.",)),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", HARM)
def test_nothing_in_a_pickle_is_ever_called(tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    function, arguments = HARM[name]
    path = write(tmp_path / "bomb.pkl", {**CALIBRATION, "bomb": Calls(function, *arguments)}, min(protocol, 4) or 2)
    with pytest.raises(CalibrationError, match=r"bomb\.pkl' is a pickle and names .*: it may be malicious"):
        read_calibration(path)
    assert [file.name for file in tmp_path.iterdir()] == ["bomb.pkl"]


def test_a_known_name_does_not_open_the_way_to_others(tmp_path, monkeypatch):
    """Old pickles contain `getattr`, which would give access to anything; here it does nothing."""
    monkeypatch.chdir(tmp_path)
    by_getattr = b"\x80\x02cbuiltins\ngetattr\ncnumpy\ndtype\nX\x04\x00\x00\x00name\x86R(X\x01\x00\x00\x00atR."
    (tmp_path / "way.pkl").write_bytes(by_getattr)
    with pytest.raises(CalibrationError, match=r"way\.pkl' is not a pickle, or damaged"):
        read_calibration(tmp_path / "way.pkl")
    for other in (b"cos\nsystem\n.", b"cxarray.core.dataarray\nos\n.", b"cnumpy\nload\n."):
        (tmp_path / "way.pkl").write_bytes(other)
        with pytest.raises(CalibrationError, match="which openhsi's calibrations do not contain"):
            read_calibration(tmp_path / "way.pkl")


@pytest.mark.parametrize("content", [b"", b"wavelengths", b"\x80\x04N.", pickle.dumps([1, 2]), pickle.dumps({1: 2})])
def test_what_is_no_calibration_is_named(tmp_path, content):
    (tmp_path / "odd.pkl").write_bytes(content)
    with pytest.raises(CalibrationError, match=r"odd\.pkl' is (not a pickle|a pickle of|not a calibration)"):
        read_calibration(tmp_path / "odd.pkl")


def test_a_dictionary_whose_keys_are_no_names_is_named(tmp_path):
    path = write(tmp_path / "old.pkl", {"wavelengths": np.arange(3.0), 5: 1, None: 2})
    with pytest.raises(CalibrationError, match=r"dictionary with the keys \[5, None\], expected names.*must be text"):
        read_calibration(path)


def test_half_a_pickle_is_named(tmp_path):
    path = write(tmp_path / "half.pkl", as_openhsi_has_it())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CalibrationError, match=r"half\.pkl' is not a pickle, or damaged"):
        read_calibration(path)


def test_a_curve_without_points_is_refused(tmp_path):
    curve = interp1d([1.0, 2.0], [3.0, 4.0])
    del curve.__dict__["x"]
    path = write(tmp_path / "odd.pkl", {**CALIBRATION, "sfit": curve})
    with pytest.raises(CalibrationError, match=r"odd\.pkl' is a pickle and its curve has no points x and y"):
        read_calibration(path)


def test_a_labelled_array_that_holds_no_numbers_is_refused(tmp_path):
    path = write(tmp_path / "odd.pkl", {"rad_ref": xarray.DataArray(pandas.Index(["a", "b"]), dims=("a",))["a"]})
    with pytest.raises(CalibrationError, match=r"odd\.pkl' is a pickle and its DataArray has no numeric array"):
        read_calibration(path)


def test_what_lies_outside_the_pickle_is_not_fetched(tmp_path):
    (tmp_path / "odd.pkl").write_bytes(b"\x80\x04\x8c\x04fileQ.")
    with pytest.raises(CalibrationError, match=r"odd\.pkl' is a pickle and has a persistent reference, 'file'"):
        read_calibration(tmp_path / "odd.pkl")


def test_an_array_of_anything_but_numbers_is_refused(tmp_path):
    path = write(tmp_path / "odd.pkl", {"wavelengths": np.zeros(2, [("a", "f8")])})
    with pytest.raises(CalibrationError, match=r"odd\.pkl' is a pickle and contains values of the type 'V8'"):
        read_calibration(path)
