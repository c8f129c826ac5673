"""The driver of any GenICam camera, for real: on the simulator inside the genicam wheel, and on Aravis' fake camera."""

import logging
import shutil
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.drivers import FrameStatus
from openhsi_shared.errors import (
    CameraError,
    CameraLost,
    CameraNotFound,
    DriverMissing,
    FrameTimeout,
    SettingsError,
)
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.settings import CameraSettings
from openhsi_shared.testing import CameraContract
from tests.support.helpers import is_installed

for package in ("genicam", "harvesters"):
    if not is_installed(package):  # not imported here: the driver knows how to do that without harm
        pytest.skip(f"{package} is missing: pip install 'openhsi_shared[genicam]'", allow_module_level=True)
from openhsi_shared.drivers.genicam import GenICamDriver  # noqa: E402 - only where harvesters is

VIKY = Path(find_spec("genicam").origin).parent / "viky.cti"
FAST = {"AcquisitionFrameRate": 200.0}


def read(driver, n, timeout_s=5.0):
    frames = np.zeros((n, *driver.frame_shape), driver.frame_dtype)
    return frames, [driver.read_into(frame, timeout_s) for frame in frames]


@pytest.fixture
def opened():
    drivers = []

    def open_driver(producer=VIKY, serial_num=None, queue=30, **values):
        settings = CameraSettings(**{"win_resolution": (100, 120), "nodes": FAST} | values)
        drivers.append(GenICamDriver(settings, producer=producer, serial_num=serial_num, queue=queue))
        drivers[-1].open()
        return drivers[-1]

    yield open_driver
    for driver in drivers:
        driver.close()


class TestGenICamDriver(CameraContract):
    @pytest.fixture
    def driver(self):
        return GenICamDriver(CameraSettings(win_resolution=(100, 120), nodes=FAST), producer=VIKY)


def test_frames_come_with_the_producers_ids(opened):
    driver = opened()
    assert (driver.frame_shape, driver.frame_dtype, driver.frame_id_period) == ((100, 120), np.dtype(np.uint8), None)
    for _ in range(2):
        driver.start()
        frames, stamps = read(driver, 30)
        assert [stamp.frame_id for stamp in stamps] == list(range(1, 31))
        assert len(np.unique(frames[0])) > 1  # a ball before a wall
        assert any(not np.array_equal(frames[0], frame) for frame in frames)  # and it flies
        driver.stop()


def test_a_frame_is_what_the_producer_gave(opened, monkeypatch):
    """The bytes of the producer's buffer, looked at before harvesters takes it back."""
    driver = opened()
    driver.start()
    camera, given = driver._connection._camera, []
    fetch = camera.try_fetch

    def listening(**keywords):
        buffer = fetch(**keywords)
        if buffer is not None:
            given.append(buffer.payload.components[0].data.reshape(100, 120).copy())
        return buffer

    monkeypatch.setattr(camera, "try_fetch", listening)
    frames, _ = read(driver, 5)
    assert np.array_equal(frames, given)


def test_what_a_full_queue_loses_shows_in_the_ids(opened):
    driver = opened(queue=4)
    driver.start()
    steps = np.zeros(1)
    while steps.max() <= 30:  # on a busy machine, the producer makes fewer
        ids = [stamp.frame_id for stamp in read(driver, 3)[1]]
        # the time of 60 frames, of which the producer keeps 4: it does not say how many it lost
        threading.Event().wait(0.3)
        ids += [stamp.frame_id for stamp in read(driver, 10)[1]]
        steps = np.diff(ids)
        assert steps.min() >= 1
    assert steps[2:].argmax() <= 4  # the oldest that were kept come first, then the gap


def test_no_time_to_wait_is_no_time_although_harvesters_would_take_it_for_ever(opened):
    driver = opened(nodes={"AcquisitionFrameRate": 1.0})
    driver.start()
    read(driver, 1)
    with pytest.raises(FrameTimeout, match=r"no frame of .* Viky 0 within 0.0 s"):  # noqa: PT012 - see below
        for _ in range(10):  # on a busy machine, one may be there; all of them would take 10 s
            read(driver, 1, 0.0)


def test_a_queue_of_its_own_size(opened):
    driver = opened(queue=7)
    driver.start()
    assert driver._connection._camera.num_buffers == 7


def test_the_serial_number_chooses_the_camera(opened):
    assert opened(serial_num=1)._name.endswith("Viky 1")
    with pytest.raises(
        CameraNotFound, match=r"serial number '9'; .*viky.cti.*there are \['0', '1', '2'\]|'9'.*viky.cti"
    ):
        opened(serial_num=9)


def test_producers_are_found_where_the_environment_says(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("GENICAM_GENTL64_PATH", f"{tmp_path}:{VIKY.parent}")
    opened(producer=None).close()
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(tmp_path))
    with pytest.raises(CameraNotFound, match=r"no GenTL producer was found: pass producer='.*set GENICAM_GENTL64_PATH"):
        opened(producer=None)
    with pytest.raises(
        SettingsError, match=r"producer '.*/missing.cti' is not a file: expected the path of a GenTL producer"
    ):
        opened(producer=tmp_path / "missing.cti")


def test_a_broken_producer_is_said(opened, tmp_path):
    (tmp_path / "broken.cti").write_bytes(b"no library")
    with pytest.raises(CameraError, match="cannot be opened"):
        opened(producer=tmp_path / "broken.cti")


def test_a_camera_without_exposure_says_so_once(opened, caplog):
    with caplog.at_level(logging.WARNING):
        driver = opened()
        assert driver.set_exposure(3.0) == 3.0
    assert [record.message for record in caplog.records if "openhsi_shared" in record.name] == [
        "Machine Vision Games Ltd. Viky 0 has no exposure that can be set"
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"pixel_format": "Mono12"},
            r"pixel_format 'Mono12' cannot be recorded .* set pixel_format to one of \['Mono8'\]",
        ),
        (
            {"win_resolution": (900, 120)},
            "win_resolution: Height of .* from 100 to 800 in steps of 1, got 900; .* is 800",
        ),
        ({"win_offset": (0, 4)}, r"win_offset: OffsetX of .* cannot be set to 4"),
        ({"nodes": {"AcquisitionFrameRat": 1.0}}, r"has no feature .* \(did you mean AcquisitionFrameRate\?\)"),
        ({"nodes": {"AcquisitionFrameRate": 999.0}}, "must be a number from 1 to 200, got 999.0"),
        ({"nodes": {"PixelFormat": "Mono9"}}, r"must be one of \[.*'Mono8'\], got 'Mono9' \(did you mean Mono8\?\)"),
    ],
)
def test_unsupported_settings_are_refused_and_the_camera_released(opened, values, words):
    with pytest.raises(SettingsError, match=words):
        opened(**values)
    opened()


# ---- Aravis: GigE Vision over the loopback ----


@pytest.fixture(scope="module")
def fake_gige(request):
    """Aravis' fake camera, in a process of its own, dropping some packets of a thousand."""
    program = shutil.which("arv-fake-gv-camera-0.8")
    if program is None:
        pytest.skip("needs Debian's aravis-tools, gir1.2-aravis-0.8 and python3-gi")
    dropped = getattr(request, "param", 0)
    serial = f"OPENHSI{dropped}"
    command = [program, "-i", "127.0.0.1", "-s", serial] + (["-r", str(dropped)] if dropped else [])
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield serial, process
    finally:
        process.kill()
        process.wait()


def by_aravis(opened, serial, **values):
    nodes = {"AcquisitionFrameRate": 100.0}
    wanted = {"win_resolution": (64, 256), "pixel_format": "Mono8", "exposure_ms": 10, "nodes": nodes} | values
    deadline = time.monotonic() + 15
    while True:
        try:
            return opened(producer="aravis", serial_num=serial, **wanted)
        except DriverMissing as missing:
            pytest.skip(str(missing))
        except CameraError:  # it is not there yet, or does not answer yet
            if time.monotonic() > deadline:
                raise


def test_a_gige_camera_counts_to_65535_and_loses_nothing(opened, fake_gige):
    driver = by_aravis(opened, fake_gige[0])
    assert (driver.frame_shape, driver.frame_dtype, driver.frame_id_period) == ((64, 256), np.dtype(np.uint8), 65535)
    driver.start()
    frames, stamps = read(driver, 60)
    ids = FrameIds(driver.frame_id_period)
    numbers = [ids.unwrap(stamp.frame_id) for stamp in stamps]
    assert numbers == list(range(numbers[0], numbers[0] + 60))
    ramp = np.arange(64)[:, None] + np.arange(256)
    expected = [(ramp + stamp.frame_id) % 255 for stamp in stamps]
    assert np.array_equal(frames, expected)
    times = [stamp.camera_ns for stamp in stamps]
    assert times == sorted(times)


@pytest.mark.parametrize("fake_gige", [20], indirect=True)
def test_frames_that_lost_packets_are_incomplete_or_missing_and_all_are_counted(opened, fake_gige):
    driver = by_aravis(opened, fake_gige[0])
    driver.start()
    ids = FrameIds(driver.frame_id_period)
    stream = driver._connection._stream
    _, stamps = read(driver, 200)
    numbers = []
    for stamp in stamps:
        is_broken = stamp.status is not FrameStatus.GOOD
        if is_broken and (stamp.frame_id is None or ids.is_behind(stamp.frame_id)):
            continue  # its number was lost, too, or it is the rest of one that was given up
        numbers.append(ids.unwrap(stamp.frame_id))
    n_good = sum(stamp.status is FrameStatus.GOOD for stamp in stamps)
    n_lost = numbers[-1] - numbers[0] + 1 - n_good
    assert n_lost > 0
    assert n_lost <= stream.get_info_uint64_by_name("n_failures") + stream.get_info_uint64_by_name("n_underruns") + (
        numbers[-1] - numbers[0] + 1 - len(numbers)
    )


@pytest.mark.parametrize("fake_gige", [1], indirect=True)  # one of its own, to be killed
def test_a_gige_camera_that_dies_is_lost(opened, fake_gige):
    serial, process = fake_gige
    driver = by_aravis(opened, serial)
    driver.start()
    read(driver, 2)
    process.kill()
    with pytest.raises((CameraLost, FrameTimeout)):
        read(driver, 200, 10.0)


class TestAravis(CameraContract):
    @pytest.fixture
    def driver(self, opened, fake_gige):
        driver = by_aravis(opened, fake_gige[0])
        driver.close()
        return driver
