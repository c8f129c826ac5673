"""A flight of a minute: a recorded receiver behind a real gpsd, an IOC that dies, and channels whose process is killed.

`OPENHSI_NMEA_LOG=ublox-neo-m9n-nmea.log` (of gpsd's `test/daemon`) plays this log instead of a generated one.
"""

import os
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from openhsi_shared import SharedSimulatedCamera, match_channels, open_cube, record, verify
from openhsi_shared.channels import EpicsChannel, GpsdChannel, State
from tests.channels.receivers import GPSD, gpsd, nmea, playing, receiver
from tests.support.flow import COUNTING, account
from tests.support.helpers import is_installed, wait_for

DAY_S = 86400
EARLIER_S, LATER_S = 0.2, 2.5
"""A gap begins with the last sample before it, and ends with the state that the next one ends."""
N_FIXES, RATE = 61, 20.0
BEGIN_S = 1594507065  # 2020-07-11: the computer of the flight is years ahead
TIMEOUT_S = 300
Floats = NDArray[np.float64]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of NMEA sentences at 1 Hz."""
    if given := os.environ.get("OPENHSI_NMEA_LOG"):
        return Path(given)
    sentences = []
    for k in range(N_FIXES):
        moment = datetime.fromtimestamp(BEGIN_S + k, UTC)
        clock = f"{moment:%H%M%S}.00"
        north, east = 6.62964 + 0.004 * np.sin(k / 7) + 1e-4 * k, 37.61382 + 0.003 * np.cos(k / 5)
        place = f"38{north:08.5f},N,122{east:08.5f},W"
        sentences += [
            nmea(f"GNRMC,{clock},A,{place},0.040,,{moment:%d%m%y},,,D"),
            nmea(f"GNGGA,{clock},{place},2,12,0.54,{83 + k % 5 / 10:.1f},M,-29.5,M,,0000"),
            nmea(f"GNZDA,{clock},{moment:%d,%m,%Y},00,00"),
        ]
    path = tmp_path / "receiver.nmea"
    path.write_bytes(b"".join(sentences))
    return path


def fixes_of(log: Path) -> tuple[Floats, Floats]:
    """Seconds of the day (n,), and latitude, longitude, height above the ellipsoid (n, 3), read by hand."""
    found = {}
    for line in log.read_text(errors="replace").splitlines():
        words = line.split(",")
        if words[0][3:] != "GGA" or words[6] == "0":
            continue
        day_s = int(words[1][:2]) * 3600 + int(words[1][2:4]) * 60 + float(words[1][4:])
        latitude = (int(words[2][:2]) + float(words[2][2:]) / 60) * (1 if words[3] == "N" else -1)
        longitude = (int(words[4][:3]) + float(words[4][3:]) / 60) * (1 if words[5] == "E" else -1)
        found[day_s] = (latitude, longitude, float(words[9]) + float(words[11]))
    return np.array(list(found)), np.array(list(found.values()))


@pytest.mark.campaign
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.skipif(GPSD is None, reason="gpsd is missing: apt-get install gpsd")
@pytest.mark.skipif(not (is_installed("epics") and is_installed("softioc")), reason="needs pyepics and softioc")
def test_a_flight_loses_no_line_and_every_gap_is_where_it_was_made(tmp_path, log, runtime):
    from tests.channels import servers

    stamps_s, places = fixes_of(log)
    out = tmp_path / "flight"
    with receiver(tmp_path) as one, gpsd(one.port) as daemon, servers.running(servers.softioc("T", RATE)) as ioc:
        channels = {
            "gps": GpsdChannel("gps", port=daemon.port),
            **{name: EpicsChannel(name, f"T:{name}", rate=RATE, how="linear") for name in "abc"},
        }
        with (
            playing(one, log),
            record(
                SharedSimulatedCamera,
                out,
                channels=channels,
                connect_timeout_s=30,
                n_lines=500,
                rate=200,
                queue=9999,
                when_full="block",
                progress=False,
                n_buffers=8,
                **COUNTING,
            ) as run,
        ):
            begun_s = time.time()

            def wait_until(passed_s: float) -> None:
                wait_for(lambda: time.time() > begun_s + passed_s, TIMEOUT_S)

            wait_until(12)
            assert {one.state for one in run.channels.values()} == {"good"}
            ioc_gap_s = [time.time()]
            ioc.kill()
            wait_until(17)
            ioc.start()
            wait_for(lambda: run.channels["a"].state == "good")
            ioc_gap_s.append(time.time())
            wait_until(35)
            process_gap_s = [time.time()]
            os.kill(run._channels.process_id, signal.SIGKILL)
            wait_for(lambda: run.channels["gps"].state in ("lost", "connecting"))
            wait_for(lambda: {one.state for one in run.channels.values()} == {"good"})
            process_gap_s.append(time.time())
            wait_until(50)
            run.stop()
            summary = run.wait()
    assert summary.lines_lost == 0
    assert account(out) == (list(range(summary.lines)), [])
    assert summary.lines > 200 * 45
    for path in summary.paths:
        assert verify(path).problems == ()
    gaps_s = {name: [process_gap_s] if name == "gps" else [ioc_gap_s, process_gap_s] for name in channels}
    stamps_s, places = received(summary.paths, stamps_s, places)
    for path in summary.paths:
        with open_cube(path) as cube:
            prove(cube.dataset, stamps_s, places)
    whole = match_channels(out)
    assert whole.sizes["y"] == summary.lines
    prove(whole, stamps_s, places)
    times_s = whole.time.values.astype(np.int64) / 1e9
    for name, gaps in gaps_s.items():
        states = whole[f"{name}_state"].values
        in_gaps = [(times_s > begin - EARLIER_S) & (times_s < end + LATER_S) for begin, end in gaps]
        assert [bool((states[which] == State.LOST).any()) for which in in_gaps] == [True] * len(gaps)
        no_seam = ~np.any(in_gaps, axis=0) & (times_s < times_s[-1] - LATER_S)  # the flight has an end
        assert set(states[no_seam]) == {State.GOOD}, name
        assert np.isfinite(whole["gps_latitude" if name == "gps" else name].values[no_seam]).all()


def received(paths: Sequence[Path], stamps_s: Floats, places: Floats) -> tuple[Floats, Floats]:
    """The fixes of the log that are in the files; those that came while the channels were dead are not."""
    found: set[int] = set()
    for path in paths:
        with open_cube(path) as cube:
            found |= set((np.asarray(cube.channels["gps"].variables["time"].data) // 10**9 % DAY_S).tolist())
    is_there = np.isin(stamps_s, sorted(found))
    first, last = np.flatnonzero(is_there)[[0, -1]]
    assert (~is_there[first:last]).sum() <= 3
    return stamps_s[is_there], places[is_there]


def prove(dataset: xr.Dataset, stamps_s: Floats, places: Floats) -> None:
    """Every value is that of its line: positions on the straight line between the fixes, scalars those of the IOC."""
    times_s = dataset.time.values.astype(np.int64) / 1e9
    gps_s = times_s + dataset["clock_offset"].values
    for number, name in enumerate(("latitude", "longitude", "altitude")):
        values = dataset[f"gps_{name}"].values
        right = np.interp(gps_s % DAY_S, stamps_s, places[:, number])
        assert np.nanmax(np.abs(values - right), initial=0) < (1e-6 if name == "altitude" else 1e-9)
    for name, factor in (("a", 1), ("b", 2)):
        off_s = (dataset[name].values / factor - times_s + DAY_S / 2) % DAY_S - DAY_S / 2
        assert np.nanmax(np.abs(off_s), initial=0) < 1e-4, name
