"""Vendors' cameras from the sensor to the file, on stand-ins: `exposure_ms`, ids, loss, and a recording of its own."""

import json
import os
import subprocess
import sys

import netCDF4
import numpy as np
import pytest

from tests.support.helpers import wait_for

pytest.register_assert_rewrite("vendor_contract")
from openhsi_shared import cameras  # noqa: E402 - as above
from openhsi_shared.errors import SettingsError, UnknownKeyword  # noqa: E402 - as above
from tests.support.vendor_contract import COLUMNS, ROWS, STAND_INS, scene  # noqa: E402 - after the line above

OTHERS = [("SharedFlirCamera", 10), ("SharedLucidCamera", 10), ("SharedHikrobotCamera", 10)]


@pytest.fixture
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STAND_INS)
        patch.setenv("PYTHONPATH", str(STAND_INS), prepend=os.pathsep)
        import stand_in_sensor

        yield stand_in_sensor.reset()


def columns_of(path):
    with netCDF4.Dataset(path) as file:
        lines = np.moveaxis(np.asarray(file["datacube"][:]), 1, 0)
        return lines, np.asarray(file["frame_id"][:]).tolist(), np.asarray(file["temperature"][:])


def test_the_exposure_is_the_one_that_was_asked_for_as_the_sensor_rounds_it(bench):
    with cameras.SharedXimeaCamera(n_lines=4, exposure_ms=3.0, serial_num="10000002") as cam:
        assert bench.sensors[1].exposure_us == 429 * 7
        assert cam.settings["exposure_ms"] == pytest.approx(3.003)
        assert cam.settings["resolution"] == (ROWS, COLUMNS)
        assert cam.settings["full_scale"] == 4095  # 12 bits in words of 16
        cam.settings["exposure_ms"] = 1.0
        assert cam.settings["exposure_ms"] == pytest.approx(1.001)
    assert not bench.sensors[1].is_open
    with cameras.SharedXimeaCamera(n_lines=4, full_scale=4000) as cam:
        assert cam.settings["full_scale"] == 4000


def test_every_line_of_every_file_is_what_the_sensor_saw(bench, tmp_path):
    with cameras.SharedXimeaCamera(n_lines=8, exposure_ms=1, queue=50) as cam:
        handles = []
        for _ in range(3):
            cam.collect(progress=False)
            handles.append(cam.save(tmp_path))
        assert cam.status().lines_lost == 0
    for cube, handle in enumerate(handles):
        lines, ids, temperatures = columns_of(handle.result().path)
        assert ids == list(range(8 * cube, 8 * cube + 8))
        assert np.array_equal(lines, [scene(number)[:, ::-1] for number in ids])
        assert (temperatures == 33.25).all()


def test_what_the_camera_lost_is_in_the_status_and_in_the_file(bench, tmp_path):
    sensor = bench.sensors[0]
    with cameras.SharedXimeaCamera(n_lines=6, exposure_ms=1, queue=4) as cam:
        sensor.is_on_call = True
        cam.start_streaming()
        sensor.expose(9)
        for _ in range(4):
            cam.take_line()
        sensor.expose(2)
        cam.take_line()
        cam.take_line()
        saving = cam.save(tmp_path)
        assert cam.status().lines_lost == sensor.n_skipped == 5
    assert columns_of(saving.result().path)[1] == [0, 1, 2, 3, 9, 10]
    assert saving.result().lines_lost == 5


def test_the_file_names_the_camera_and_what_its_api_and_transport_skipped(bench, tmp_path):
    sensor = bench.sensors[0]
    with cameras.SharedXimeaCamera(n_lines=2, exposure_ms=1) as cam:
        cam.collect(progress=False)
        sensor.n_skipped, sensor.n_lost_on_the_way = 3, 1
        wait_for(lambda: cam.driver.skipped_at_end["transport"] == 1)  # it is asked beside the loop, now and then
        saving = cam.save(tmp_path)
    with netCDF4.Dataset(saving.result().path) as file:
        assert file.camera_name == f"XIMEA {sensor.model} {sensor.serial}"
        told = {name: int(file.getncattr(name)) for name in file.ncattrs() if name.startswith("skipped_by")}
    assert told == {
        "skipped_by_api_at_start": 0,
        "skipped_by_transport_at_start": 0,
        "skipped_by_api": 3,
        "skipped_by_transport": 1,
    }


@pytest.mark.parametrize(("name", "rounding_us"), OTHERS)
def test_the_other_vendors_go_the_same_way(bench, tmp_path, name, rounding_us):
    camera = getattr(cameras, name)
    with camera(n_lines=6, exposure_ms=0.804, pixel_format="Mono12Packed", win_resolution=(8, 16)) as cam:
        assert cam.settings["exposure_ms"] == pytest.approx(0.8)
        cam.collect(progress=False)
        saving = cam.save(tmp_path)
    lines, ids, temperatures = columns_of(saving.result().path)
    assert np.array_equal(lines, [scene(number)[:8, :16] for number in range(6)])
    assert np.diff(ids).tolist() == [1] * 5
    assert (temperatures == 31.5).all()


def test_full_scale_is_that_of_the_format_that_a_camera_chooses_itself(bench):
    with cameras.SharedHikrobotCamera(n_lines=2) as cam:
        assert cam.settings["pixel_format"] is None
        assert cam.settings["full_scale"] == 4095


def test_mistyped_keywords_fail_where_they_were_typed(bench):
    with pytest.raises(UnknownKeyword, match=r"no keyword 'serial_nun' \(did you mean serial_num\?\)"):
        cameras.SharedXimeaCamera(serial_nun="1")
    with pytest.raises(SettingsError, match="exposure_ms"):
        cameras.SharedXimeaCamera(exposure_ms=-1)


RECORDING = """
import sys
from openhsi_shared import record
from openhsi_shared.cameras import SharedXimeaCamera

with record(SharedXimeaCamera, sys.argv[1], n_lines=20, n_cubes=5, exposure_ms=1, queue=100, progress=False) as run:
    run.wait()
print(run.status().lines, run.status().lines_lost)
"""


def test_a_recording_has_its_camera_in_a_process_of_its_own(bench, tmp_path):
    root = str(STAND_INS.parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(STAND_INS), root]), "STAND_IN_PERIOD_MS": "10"}
    script = tmp_path / "flight.py"  # without a guard
    script.write_text(RECORDING)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["100", "0"]
    files = sorted(tmp_path.rglob("*.nc"))
    assert [columns_of(path)[1] for path in files] == [list(range(20 * cube, 20 * cube + 20)) for cube in range(5)]


MISSING = """
import json, sys
from openhsi_shared.drivers import driver_class
from openhsi_shared.errors import DriverMissing
found = {}
for name in sys.argv[1:]:
    try:
        driver_class(name)
    except DriverMissing as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def missing():
    """What is said of each vendor whose package is missing."""
    names = ["ximea", "flir", "lucid", "hikrobot"]
    done = subprocess.run([sys.executable, "-c", MISSING, *names], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["ximea", "flir", "lucid", "hikrobot"])
def test_the_command_line_names_where_a_missing_package_comes_from(missing, name):
    if name not in missing:
        pytest.skip("the vendor's package is installed")
    said = missing[name]
    assert said.startswith(f"camera {name!r} needs the package ")
    assert "; it comes with" in said
    assert "https://" in said
