"""Pickles, settings and metadata that are wrong or malicious: one clear error, and none of their code is run."""

import json
import logging
import os
import pickle
import re
import uuid
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import SharedSimulatedCamera, open_cube, verify
from openhsi_shared.attributes import user_attributes
from openhsi_shared.calibration import read_calibration
from openhsi_shared.errors import CalibrationError, SettingsError
from openhsi_shared.settings import CameraSettings, read_settings
from tests.support import file_corruption
from tests.support.file_corruption import Original, check_calibration, read_all
from tests.support.flow import COUNTING
from tests.support.helpers import in_child
from tests.support.level_oracle import CALIBRATION
from tests.support.process_faults import writers_of

# ---- I1: pickles ----


def folded(width, depth):
    """Little to write, without end to read: lists of the same list, again and again."""
    found = [0.0] * width
    for _ in range(depth):
        found = [found] * width
    return found


def holding_itself():
    found = []
    found.append(found)
    return found


BOMBS = {
    "a folded list": (pickle.dumps({"wavelengths": folded(10, 30)}), "expands to more than"),
    "a folded argument": (b"\x80\x04cnumpy\ndtype\n" + pickle.dumps(tuple(folded(9, 30)))[2:-1] + b"R.", "expands to"),
    "a list that holds itself": (pickle.dumps({"wavelengths": holding_itself()}), "RecursionError"),
    "depth": (b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".", "RecursionError"),
    "a place in memory far away": (b"\x80\x04Nr\xff\xff\xff\x7f.", "has memo index 2147483647"),
    "a terabyte of text": (b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b".", "expected 1099511627776 bytes"),
    "a terabyte of bytes": (b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", "expected 1099511627776 bytes"),
    "a number of many digits": (b"\x80\x04I" + b"9" * 1_000_000 + b"\n.", "is not a pickle, or damaged"),
    "a large array of nothing": (
        pickle.dumps({"wavelengths": np.zeros(3)}).replace(b"K\x03\x85", b"\x8a\x06\0\0\0\0\0\x01\x85"),
        "is not a pickle, or damaged",
    ),
    "a reference": (b"\x80\x04\x8c\x04name\x94Q.", "has a persistent reference"),
}


def read_bombs(directory):
    """The error for each bomb; with little memory."""
    file_corruption.limit_memory()
    said = {}
    for name in BOMBS:
        try:
            said[name] = f"was read: {read_calibration(directory / f'{name}.pkl')}"
        except CalibrationError as error:
            said[name] = str(error)
    most = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # ru_maxrss begins with the parent's
    return said, int(most[1])


def test_a_small_pickle_that_expands_without_end_is_refused_at_once(tmp_path):
    """I1: nothing in it is called, and yet it would take all memory or time."""
    for name, (content, _) in BOMBS.items():
        (tmp_path / f"{name}.pkl").write_bytes(content)
    said, n_kilobytes = in_child(read_bombs, tmp_path)
    for name, (_, expected) in BOMBS.items():
        assert f"{name}.pkl' is " in said[name]
        assert expected in said[name]
    assert n_kilobytes < 1_000_000


class Harm:
    """Leaves a file where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("keyword", ["cal_path", "pkl_path"])
@pytest.mark.parametrize("content", [Harm(), {**CALIBRATION, "sfit": Harm()}, [Harm()]], ids=["bare", "within", "list"])
def test_a_camera_is_not_opened_with_a_pickle_that_does_harm(tmp_path, monkeypatch, content, keyword):
    """I1: it is refused before a writer, a camera or anything of the pickle runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(CalibrationError, match=r"bomb\.pkl' is a pickle and names \w+\.system, .* was not executed"):
        SharedSimulatedCamera(**{**COUNTING, "cal_path": "", keyword: tmp_path / "bomb.pkl"})
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.pkl"]
    assert not writers_of()


def test_damaged_pickles_are_read_or_refused_but_do_no_harm(tmp_path):
    """I1: any byte of a pickle may be an instruction."""
    plain = {key: value for key, value in CALIBRATION.items() if np.size(value) < 100}
    (tmp_path / "calibration.pkl").write_bytes(pickle.dumps(plain))
    verdicts = read_all([Original.of(tmp_path / "calibration.pkl")], range(300), check_calibration)
    assert not verdicts.faults, str(verdicts)
    assert verdicts.counts["found"] > 50


# ---- I2: settings ----

WRONG = [None, True, "x", "", -1, 0, 1.5, 10**400, [], {}, [1], [1, 2, 3], [-1, 5], [[1, 2], [3, 4]], [True, 1]]
WRONG += [[None, None], ["a", "b"], {"a": {"b": 1}}, [10**400, 0], "NaN", "inf", "-1", "\ud800", "\0"]
TYPES = str | int | float | tuple | dict | None


@pytest.fixture
def settings_file(tmp_path):
    def write(content):
        path = tmp_path / "flight.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


def read_or_refuse(path):
    """The settings, or why they are none."""
    try:
        return read_settings(path), ""
    except SettingsError as error:
        return None, str(error)


@pytest.mark.parametrize("key", sorted(CameraSettings.model_fields))
def test_every_wrong_value_of_every_key_is_named_with_its_file(settings_file, key):
    """I2: or it is no wrong one for this key, and then it is stored in the file."""
    n_refused = 0
    for value in WRONG:
        settings, refusal = read_or_refuse(settings_file({key: value}))
        if settings is None:
            assert "flight.json" in refusal
            assert key in refusal
            n_refused += 1
            continue
        kept = getattr(settings, key)
        assert isinstance(kept, TYPES)
        assert not isinstance(kept, bool)
        assert not isinstance(kept, float) or np.isfinite(kept)
    assert n_refused >= 8


FILES = {
    "nothing": (b"", "is broken"),
    "blanks": (b" \n\t", "is broken"),
    "zeros": (bytes(4096), "is broken"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "cannot be read"),
    "UTF-16": ('{"fwhm_nm": 3}'.encode("utf-16"), "cannot be read"),
    "half": (b'{"fwhm_nm": 3, "exposure_ms"', "is broken"),
    "two": (b'{"fwhm_nm": 3}{"fwhm_nm": 4}', "is broken"),
    "a key twice": (b'{"fwhm_nm": 3, "fwhm_nm": 4}', "'fwhm_nm' occurs twice"),
    "a key twice, deep": (b'{"nodes": {"Gain": 3, "Gain": 4}}', "'Gain' occurs twice"),
    "NaN": (b'{"fwhm_nm": NaN}', "NaN is not a valid JSON number"),
    "infinity": (b'{"fwhm_nm": Infinity}', "Infinity is not a valid JSON number"),
    "too large": (b'{"fwhm_nm": 1e999}', "fwhm_nm: .*finite"),
    "too many digits": (b'{"fwhm_nm": ' + b"9" * 10_000 + b"}", "is broken"),
    "true": (b'{"fwhm_nm": true}', "fwhm_nm must not be true or false"),
    "a list": (b"[1, 2]", "holds a list"),
    "too deep": (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", "nested deeper than 100 levels"),
    "far too deep": (b'{"a": ' + b'{"a": ' * 985 + b"1" + b"}" * 986, "is broken: .*(deep|recursion)"),
    "endlessly deep": (b"[" * 1_000_000, "is broken"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_camera_is_not_opened_with_settings_that_are_none(settings_file, name):
    """I2: nor is a writer started."""
    content, said = FILES[name]
    with pytest.raises(SettingsError, match=rf"flight\.json.* {said}"):
        SharedSimulatedCamera(json_path=settings_file(content), cal_path="")
    assert not writers_of()


def test_a_byte_order_mark_and_keys_that_nobody_knows_are_no_error(settings_file, tmp_path, caplog):
    """I2: Windows writes the one, vendors the others; keys that are missing have their defaults."""
    known = '\ufeff{"resolution": [16, 32], "exposure_mss": 3, "complete": 0, "owner": {"name": null}}'
    with (
        caplog.at_level(logging.WARNING),
        SharedSimulatedCamera(
            json_path=settings_file(known.encode()), cal_path="", mode="counting", n_lines=4, row_slice=None
        ) as camera,
    ):
        camera.collect()
        path = camera.save(tmp_path).result(60).path
    assert "'exposure_mss' (did you mean exposure_ms?)" in caplog.text
    assert camera.settings["fwhm_nm"] == CameraSettings().fwhm_nm
    assert verify(path)


def test_no_damaged_settings_file_is_anything_but_settings_or_one_error(settings_file, caplog):
    """I2: 1000 files with wrong, missing, doubled bytes."""
    template = Path(__file__).parents[2].joinpath("assets", "cam_settings_ximea.json")
    words = [b"[", b"{", b'"', b"-", b",", b":", b"1e999", b"null", b"true", b"\0", b"\xff", b"9" * 400]
    original = template.read_bytes()
    n_refused = 0
    for number in range(1000):
        random = np.random.default_rng(number)
        content = bytearray(original)
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(len(content)))
            content[place : place + random.integers(8)] = words[random.integers(len(words))] * random.integers(2)
        settings, refusal = read_or_refuse(settings_file(bytes(content)))
        if settings is None:
            assert "flight.json" in refusal
            assert len(refusal) < 3000
            n_refused += 1
    assert n_refused > 500


def test_what_was_pasted_into_a_value_does_not_fill_the_screen(settings_file):
    """I2: a megabyte in the file is no megabyte in the message."""
    with pytest.raises(SettingsError, match=r"exposure_ms: .*number.*'xxx.*\.\.\..*xxx'") as caught:
        read_settings(settings_file({"exposure_ms": "x" * 1_000_000}))
    assert len(str(caught.value)) < 1000


# ---- I4: metadata ----

NAMES = ["CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "coordinates", "_FillValue"]
NAMES += ["_NCProperties", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict", "_IsNetcdf4", "_SuperblockVersion"]
OURS = ["uuid", "id", "complete", "n_lines", "level", "durability", "lines_lost", "lost_frame_ids", "recovered"]
ODD = ["", " ", ".", "..", "/", "a/b", "\0", "\n", "\ud800", "日本語", "\N{SNOWMAN}", "é" * 10_000, "-"]
METADATA = {
    **{name: f"the user's {name}" for name in [*NAMES, *OURS, *ODD]},
    "long": "x" * 1_000_000,
    "long and wide": "\N{SNOWMAN}" * 100_000,
    "none": None,
    "nested": {"a": {"b": [1, None, {"c": True}]}},
    "row": [1, 2.5, 3],
    "rows": [[1, 2], [3, 4]],
    "mixed": [1, "a", None],
    "large": 10**30,
    "empty": "",
    "zeros": "a\0b\0",
    "surrogate": "\ud800",
    "true": True,
    **{f"many {number}": number for number in range(500)},
}


def test_metadata_with_any_name_and_value_is_kept_and_overrides_nothing(tmp_path):
    """I4: names that netCDF, HDF5 or we use ourselves, unicode, a megabyte, null, objects; every reader opens it."""
    (tmp_path / "about.json").write_text(json.dumps(METADATA))
    with SharedSimulatedCamera(**COUNTING, n_lines=4) as camera:
        camera.collect()
        path = camera.save(tmp_path, preconfig_meta_path=tmp_path / "about.json").result(60).path
    assert verify(path).problems == ()
    with open_cube(path) as cube:
        attributes = cube.attributes
    assert uuid.UUID(attributes["uuid"])
    assert [attributes[name] for name in ("complete", "n_lines", "lines_lost", "recovered")] == [1, 4, 0, 0]
    for name in [*NAMES, *OURS]:
        assert attributes[f"metadata_{name}"].startswith(f"the user's {name}")
    assert attributes["日本語"] == "the user's 日本語"
    assert attributes["long"] == METADATA["long"]
    assert attributes["long and wide"] == METADATA["long and wide"]
    assert [attributes[name] for name in ("none", "true", "empty")] == ["null", "true", ""]
    assert json.loads(attributes["nested"]) == METADATA["nested"]
    assert json.loads(attributes["rows"]) == METADATA["rows"]
    assert attributes["row"].tolist() == METADATA["row"]
    assert int(attributes["large"]) == 10**30
    assert sum(str(value).startswith("the user's") for value in attributes.values()) == len(NAMES + OURS + ODD)
    with netCDF4.Dataset(path) as file, xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert file.getncattr("long") == dataset.attrs["long"] == METADATA["long"]
        assert file["datacube"].shape == dataset.datacube.shape == (16, 4, 32)


def test_names_that_become_the_same_are_all_kept(tmp_path):
    """I4: what stands for a sign that no name may have is the same for all of these."""
    names = ["a/b", "a\nb", "a\0b", "a_b", "uuid", "metadata_uuid", "metadata_uuid_2", "_x", "metadata__x"]
    found = user_attributes(dict.fromkeys(names, "kept"), {"uuid"})
    assert len(found) == len(names)
    assert set(found.values()) == {"kept"}
    assert "uuid" not in found


def test_metadata_nested_too_deep_is_refused_when_save_is_called(tmp_path):
    """I4: the process that saves would fall over it, again and again."""
    for levels, is_kept in ((99, True), (100, False), (900, False)):
        (tmp_path / "about.json").write_text('{"deep": ' + "[" * levels + "1" + "]" * levels + "}")
        with SharedSimulatedCamera(**COUNTING, n_lines=4) as camera:
            camera.collect()
            if is_kept:
                assert verify(camera.save(tmp_path, tmp_path / "about.json").result(60).path)
                continue
            with pytest.raises(SettingsError, match=r"about\.json is broken: it is nested deeper than 100 levels"):
                camera.save(tmp_path, tmp_path / "about.json")
            assert verify(camera.save(tmp_path).result(60).path)
