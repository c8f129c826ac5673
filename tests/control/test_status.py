"""A status as a table."""

from dataclasses import replace

from tests.support.control import RECORDING_STATUS, STATUS


def test_a_status_is_a_short_table():
    status = replace(STATUS, writer_mb_per_s=float("nan"))
    assert dict(status.rows()) == {
        "lines": "12,345",
        "lines lost": "3",
        "lost ids": "7-9",
        "lines per second": "498.6",
        "slots": "1 FREE, 1 FILLING",
        "fill": "50 %",
        "cubes saved": "12",
        "cubes pending": "1",
        "temperature, celsius": "31.3",
        "saturated pixels, newest cube": "1.25 %",
        "errors": "no <space>",
    }
    assert "no &lt;space&gt;" in status._repr_html_()


def test_a_status_of_a_recording_tells_its_own_as_well():
    rows = dict(RECORDING_STATUS.rows())
    assert rows.items() >= {"seconds": "7.2", "cubes": "3", "minutes of disk left": "inf"}.items()
    assert "RecordingStatus" in RECORDING_STATUS._repr_html_()
