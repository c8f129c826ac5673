"""References in the files of cubes: read once, warned about when they are old, and never the reason of a lost cube."""

import logging

import numpy as np
import pytest

from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.writer import cube_references
from openhsi_shared.writer.cube_references import references_of_cube
from tests.files.test_references import reference

BEGIN = 1_700_000_000_123_456_789
HOUR = 3_600_000_000_000


def of_cube(written, times_ns=BEGIN, celsius=21.5, shape=(5, 7), is_embedded=True, sha256=None):
    times = np.full(3, times_ns, np.int64)
    where = {written.kind: (str(written.path), sha256 or written.sha256)}
    return references_of_cube(where, shape, times, np.array([celsius, np.nan], np.float32), is_embedded)


def test_age_and_temperature_are_in_the_group_and_in_the_attribute(tmp_path, monkeypatch):
    written = reference().write(tmp_path)
    groups, attributes = of_cube(written, BEGIN + 5 * 10**9, 22.5)
    about = groups["dark"].attributes
    assert (about["age_s"], about["temperature_change_k"], about["exposure_ms"]) == (5.0, 1.0, 5.0)
    assert attributes == {
        "reference_files": {
            "dark": {
                "path": str(written.path),
                "sha256": written.sha256,
                "age_s": 5.0,
                "temperature_change_k": 1.0,
            }
        }
    }
    groups, attributes = of_cube(written, UNKNOWN_TIME_NS, np.nan, is_embedded=False)
    assert groups == {}
    assert attributes["reference_files"]["dark"].keys() == {"path", "sha256"}
    monkeypatch.setattr("openhsi_shared.files.references.Reference.read", None)
    assert of_cube(written)[0], "it was read once"


def test_an_old_one_and_another_temperature_are_warned_about_once(tmp_path, caplog):
    written = reference().write(tmp_path)
    for times_ns, celsius in ((BEGIN + HOUR, 23.4), (BEGIN + 2 * HOUR, 23.6), (BEGIN + 3 * HOUR, 19.0)):
        groups, _ = of_cube(written, times_ns, celsius)
        assert groups
    assert [text.partition(".nc ")[2] for text in caplog.messages] == [
        "is 2.0 h old: take it again",
        "was taken at 21.5 C, the sensor is +2.1 K from that now",
    ]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"shape": (5, 8)}, "has the shape"),
        ({"sha256": "0" * 64}, "was changed since it was taken"),
        ({"gone": True}, "No such file"),
        ({"damaged": True}, "FileError"),
    ],
)
def test_what_is_wrong_is_logged_and_in_the_file(tmp_path, caplog, more, why):
    caplog.set_level(logging.ERROR)
    written = reference("white").write(tmp_path)
    if more.pop("gone", False):
        written.path.unlink()
    if more.pop("damaged", False):
        written.path.write_bytes(written.path.read_bytes()[:3000])
    groups, attributes = of_cube(written, **more)
    assert groups == {}
    assert why in attributes["references_failed"]["white"]
    assert "the white reference is not in the file" in caplog.text
    references_of_cube({}, (5, 7), np.zeros(1, np.int64), np.zeros(1), True)
    assert cube_references._read == {}, "only those in force are kept"
