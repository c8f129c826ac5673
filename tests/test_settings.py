"""Settings: every wrong one is an error that names it, every right one is kept."""

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.errors import SettingsError
from openhsi_shared.settings import (
    CHANGEABLE,
    CameraSettings,
    SettingsMapping,
    make_settings,
    read_json,
    read_settings,
)


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "cam_settings.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


def test_what_stands_in_the_file_is_what_is_read(file):
    settings = read_settings(file({"resolution": [644, 800], "row_slice": [16, 620], "exposure_ms": 2, "camera_id": 0}))
    assert settings.resolution == (644, 800)
    assert settings.rows_of(644) == slice(16, 620)
    assert settings.exposure_ms == 2.0
    assert settings.camera_id == 0


@pytest.mark.parametrize("path", [None, ""])
def test_no_file_is_all_defaults(path):
    assert read_settings(path) == CameraSettings()


def test_keyword_arguments_go_before_the_file(file):
    settings = read_settings(file({"exposure_ms": 2, "fwhm_nm": 3}), {"exposure_ms": 5})
    assert (settings.exposure_ms, settings.fwhm_nm) == (5.0, 3.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"exposure_ms": 0}, "exposure_ms: .*greater than 0, got 0"),
        ({"exposure_ms": "fast"}, "exposure_ms: .*number.*got 'fast'"),
        ({"exposure_ms": "5"}, "exposure_ms: must be a number, not text, got '5'"),
        ({"resolution": ["64", 128]}, r"resolution: must be a number, not text, got \['64', 128\]"),
        ({"exposure_ms": True}, "exposure_ms must not be true or false"),
        ({"resolution": [644, True]}, "resolution must not be true or false"),
        ({"resolution": [644]}, r"resolution"),
        ({"resolution": [644, 0]}, r"resolution\.1: .*greater than 0, got 0"),
        ({"resolution": [644.5, 800]}, r"resolution\.0: .*got 644\.5"),
        ({"binxy": [0, 1]}, r"binxy\.0"),
        ({"win_offset": [-1, 0]}, r"win_offset\.0"),
        ({"nodes": {"Gain": [1]}}, r"nodes\.Gain"),
        ({"row_slice": [16, 700], "resolution": [644, 800]}, r"row_slice \[16, 700\] must be .* <= 644 rows"),
        ({"row_slice": [16, 16]}, r"row_slice \[16, 16\]"),
        ({"row_slice": [16, -2]}, r"row_slice \[16, -2\]"),
        ({"row_slice": [644, -1], "resolution": [644, 800]}, r"row_slice \[644, -1\]"),
        ({"pixel_format": "RGB"}, "pixel_format 'RGB' must name 8, 10, 12, 14 or 16 bits"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_file_and_key(file, values, said):
    with pytest.raises(SettingsError, match=r"cam_settings\.json.*" + said):
        read_settings(file(values))


def test_a_wrong_keyword_argument_is_named_as_one(file):
    with pytest.raises(SettingsError, match=r"cam_settings\.json with the arguments \['exposure_ms'\]: exposure_ms"):
        read_settings(file({"exposure_ms": 2}), {"exposure_ms": -1})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is broken"),
        (b"", "is broken"),
        (b"[1, 2]", "holds a list, expected one JSON object"),
        (b'{"exposure_ms": NaN}', "is broken: exposure_ms: NaN is not a valid JSON number"),
        (b'{"nodes": {"Gain": [1, [NaN]]}}', "is broken: Gain: NaN is not a valid JSON number"),
        (b'{"luminance": -Infinity}', "is broken: luminance: -Infinity is not a valid JSON number"),
        (b'{"exposure_ms": 1e999}', "exposure_ms: .*finite"),
        (b'{"exposure_ms": 1, "exposure_ms": 2}', "is broken: the key 'exposure_ms' occurs twice"),
        (b'{"camera_id": "\xff"}', "cannot be read"),
        (b"[" * 200_000, "is broken"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(file, content, said):
    with pytest.raises(SettingsError, match=rf"cam_settings\.json.*{said}"):
        read_settings(file(content))


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_settings(tmp_path / "nowhere.json")
    with pytest.raises(SettingsError, match=r"nowhere\.json cannot be read.*expected a JSON file"):
        read_settings(tmp_path / "nowhere.json")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)


def test_a_byte_order_mark_is_no_error(file):
    assert read_json(file(b'\xef\xbb\xbf{"fwhm_nm": 3}')) == {"fwhm_nm": 3}


def test_an_unknown_key_of_a_file_is_kept_with_one_warning(file, caplog):
    with caplog.at_level(logging.WARNING):
        settings = read_settings(file({"exposure_mss": 3, "owner": "me"}))
    assert len(caplog.records) == 1
    assert "'exposure_mss' (did you mean exposure_ms?), 'owner'" in caplog.text
    assert SettingsMapping(settings)["owner"] == "me"


def test_known_keys_give_no_warning(file, caplog):
    read_settings(file({"exposure_ms": 3}))
    assert not caplog.records


@pytest.mark.parametrize(
    ("pixel_format", "dtype"),
    [(None, np.uint16), ("Mono8", np.uint8), ("XI_RAW8", np.uint8), ("8bit", np.uint8)]
    + [(name, np.uint16) for name in ("Mono10", "Mono12", "Mono12Packed", "Mono16", "XI_RAW16")],
)
def test_the_pixel_format_defines_the_type(pixel_format, dtype):
    assert CameraSettings(pixel_format=pixel_format).dtype_in == dtype


@pytest.mark.parametrize(
    ("row_slice", "rows"), [(None, (0, 20)), ((0, -1), (0, 20)), ((3, -1), (3, 20)), ((3, 19), (3, 19))]
)
def test_an_end_of_minus_one_means_the_last_row_included(row_slice, rows):
    assert CameraSettings(row_slice=row_slice).rows_of(20) == slice(*rows)


def test_rows_outside_what_the_camera_delivers_are_refused():
    with pytest.raises(SettingsError, match=r"row_slice \(3, 19\) is outside the 10 rows"):
        CameraSettings(row_slice=(3, 19)).rows_of(10)


def test_settings_cannot_be_changed_and_travel_to_other_processes():
    settings = make_settings({"exposure_ms": 3, "owner": "me"}, "test")
    with pytest.raises(ValueError, match="frozen"):
        settings.exposure_ms = 4
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_mapping_behaves_as_the_dictionary_of_openhsi():
    mapping = SettingsMapping(make_settings({"exposure_ms": 3}, "test"))
    assert set(mapping) == set(CameraSettings.model_fields)
    assert len(mapping) == len(list(mapping))
    mapping["exposure_ms"] = 4
    mapping["owner"] = "me"
    assert (mapping["exposure_ms"], mapping["owner"], mapping.model.exposure_ms) == (4.0, "me", 4.0)
    del mapping["exposure_ms"]
    assert mapping["exposure_ms"] == CameraSettings().exposure_ms
    assert "'owner': 'me'" in repr(mapping)
    with pytest.raises(KeyError, match="nobody"):
        mapping["nobody"]
    with pytest.raises(KeyError, match="nobody"):
        del mapping["nobody"]


def test_a_value_that_is_refused_changes_nothing():
    told = []
    mapping = SettingsMapping(CameraSettings(), lambda key, value: told.append((key, value)))
    with pytest.raises(SettingsError, match=r"settings\['exposure_ms'\]: exposure_ms"):
        mapping["exposure_ms"] = -1
    assert (mapping["exposure_ms"], told) == (10.0, [])
    mapping["exposure_ms"] = 5
    assert (mapping["exposure_ms"], told) == (5.0, [("exposure_ms", 5)])


FIXED = {
    "win_resolution": (8, 16),
    "win_offset": (2, 2),
    "binxy": (2, 2),
    "resolution": (10, 10),
    "row_slice": (1, 3),
    "fwhm_nm": 5.0,
    "luminance": 5000,
    "pixel_format": "Mono8",
    "full_scale": 4000,
    "serial_num": "17",
    "mac_addr": "00:11",
    "nodes": {"Gain": 2},
}
FREE = {"exposure_ms": 3, "camera_id": "mine", "longitude": 151.2, "datetime_str": "2026-01-01 10:00", "sixs_path": "x"}


@pytest.mark.parametrize("key", FIXED)
def test_what_an_open_camera_cannot_change_is_refused_with_the_way_out(key):
    told = []
    mapping = SettingsMapping(CameraSettings(), lambda *what: told.append(what))
    before = mapping[key]
    message = rf"^{key} cannot be changed on an open camera: call reinitialise\({key}=\.\.\.\) to make it .* instead of"
    with pytest.raises(SettingsError, match=message):
        mapping[key] = FIXED[key]
    assert (mapping[key], told) == (before, [])
    mapping[key] = before  # nothing changes
    with pytest.raises(SettingsError, match="cannot be changed"):
        mapping.update({key: FIXED[key]})
    opened = SettingsMapping(make_settings({key: FIXED[key]}, "test"), lambda *what: told.append(what))
    with pytest.raises(SettingsError, match=message):
        del opened[key]
    assert opened.model == make_settings({key: FIXED[key]}, "test")
    closed = SettingsMapping(CameraSettings())
    closed[key] = FIXED[key]
    assert closed[key] == FIXED[key]


@pytest.mark.parametrize("key", FREE)
def test_what_is_done_at_once_or_describes_the_scene_can_be_changed(key):
    told = []
    mapping = SettingsMapping(CameraSettings(), lambda *what: told.append(what))
    mapping[key] = FREE[key]
    del mapping[key]
    assert told == [(key, FREE[key]), (key, getattr(CameraSettings(), key))], "the camera hears of a default, too"


def test_every_known_setting_is_either_fixed_or_free():
    assert set(FIXED).isdisjoint(CHANGEABLE)
    assert set(FREE) <= CHANGEABLE
    assert set(FIXED) | CHANGEABLE == set(CameraSettings.model_fields)


def test_a_camera_gets_the_validated_value():
    told = []
    mapping = SettingsMapping(CameraSettings(), lambda *what: told.append(what))
    mapping["exposure_ms"] = 5
    assert told == [("exposure_ms", 5.0)]


def test_notes_are_kept_and_a_mistyped_name_is_warned_about_once(caplog):
    mapping = SettingsMapping(CameraSettings(), lambda *what: None)
    mapping["colour"] = "red"
    assert not caplog.records
    mapping["exposure"] = 3
    mapping["exposure"] = 4
    said = [record.getMessage() for record in caplog.records]
    assert said == ["settings['exposure'] is kept as a note, but not used (did you mean exposure_ms?)"]
    assert (mapping["exposure"], mapping["colour"]) == (4, "red")
    del mapping["colour"]
    assert "colour" not in mapping


def test_an_unknown_value_is_none():
    mapping = SettingsMapping(CameraSettings())
    mapping.not_known = frozenset({"exposure_ms"})
    assert mapping["exposure_ms"] is None
    assert dict(mapping)["exposure_ms"] is None
    assert "'exposure_ms': None" in repr(mapping)


def test_a_value_that_the_camera_refuses_changes_nothing():
    def refuse(key, value):
        raise OSError("camera says no")

    mapping = SettingsMapping(CameraSettings(), refuse)
    with pytest.raises(OSError, match="camera says no"):
        mapping["exposure_ms"] = 5
    assert mapping["exposure_ms"] == 10.0


def test_what_the_camera_reports_is_noted_without_asking_it():
    mapping = SettingsMapping(CameraSettings(), lambda key, value: pytest.fail("asked"))
    mapping.note(exposure_ms=1.999, resolution=(20, 48))
    assert (mapping["exposure_ms"], mapping["resolution"]) == (1.999, (20, 48))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "assets").glob("cam_settings_*.json")), ids=lambda p: p.stem
)
def test_every_template_can_be_read_without_a_warning(path, caplog):
    settings = read_settings(path)
    assert settings.rows_of(settings.resolution[0])
    assert not caplog.records


@pytest.mark.parametrize(
    ("settings", "full_scale"),
    [
        ({}, 65535),
        ({"pixel_format": "Mono8"}, 255),
        ({"pixel_format": "Mono12p"}, 4095),
        ({"pixel_format": "XI_RAW16"}, 65535),
        ({"pixel_format": "Mono16", "full_scale": 4095}, 4095),
    ],
)
def test_a_pixel_is_full_at_the_largest_number_of_its_format_or_at_a_number_that_is_set(settings, full_scale):
    found = CameraSettings(**settings)
    assert found.full_scale == full_scale
    assert found.model_dump(exclude_unset=True) == settings


def test_a_pixel_cannot_be_full_beyond_its_format():
    with pytest.raises(SettingsError, match=r"full_scale 5000 must be at most 4095"):
        make_settings({"pixel_format": "Mono12", "full_scale": 5000}, "settings")
