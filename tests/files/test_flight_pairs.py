"""Lines of two cameras that recorded together, paired by time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openhsi_shared import open_flight
from openhsi_shared.analysis.streams.cubes import CubeRanges, CubeSource
from openhsi_shared.drivers.saved_lines import inspect_cubes
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files import CubeWriter
from tests.support.cubes import TIME_NS, make_cube

MS = 1_000_000


def write(directory: Path, name: str, ms: Any, joint_id: str = "one", clock_ms: int = 0, **shape: int) -> None:
    """Write a cube of a camera, with lines at these times by the monotonic clock, which is `clock_ms` behind UTC."""
    directory.mkdir(exist_ok=True)
    n = len(ms)
    times_ns = TIME_NS + (np.asarray(ms, np.int64) + clock_ms) * MS
    columns = {
        "time_ns": times_ns,
        "frame_id": np.arange(n),
        "temperature": np.full(n, 20.0, np.float32),
        "camera_time_ns": np.full(n, -1),
    }
    attributes = {"run_id": f"{joint_id}{name}", "joint_name": name, "joint_id": joint_id}
    if joint_id:
        attributes |= {"clock_anchor_wall_ns": TIME_NS + clock_ms * MS, "clock_anchor_monotonic_ns": 0}
    cube = make_cube(n, **{"x": 4, "bands": 6} | shape, columns=columns, attributes=attributes)
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        writer.write(cube, [directory], picture=False)


def test_each_line_has_the_nearest_one_of_the_other_camera_and_a_gap_has_none(tmp_path: Path) -> None:
    write(tmp_path, "vnir", [*range(0, 100, 5)])
    write(tmp_path, "vnir", [*range(100, 200, 5)])
    write(tmp_path, "swir", [2, 14, 26, 38, *range(146, 200, 12)], x=3, bands=5)
    with open_flight(tmp_path) as flight:
        pairs = flight.pairs("vnir", "swir")
        vnir, swir = flight.cameras["vnir"], flight.cameras["swir"]
        at, other = (each.times.astype(np.int64) // MS for each in (vnir, swir))
        for line, near, apart_s in zip(pairs.first, pairs.second, pairs.apart_s, strict=True):
            assert abs(other - at[line]).min() == abs(other[near] - at[line])
            assert apart_s == pytest.approx((other[near] - at[line]) / 1e3)
        left_out = sorted({*range(40)} - {*pairs.first.tolist()})
        assert left_out == [*range(11, 27)]  # from 55 to 130 ms: farther than a step of 12 ms from 38 and 146 ms
        assert pairs.cubes == ((0, 0), (1, 0))
        assert flight.pairs("vnir", "swir", within_s=0).first.tolist() == [34]  # both at 170 ms
        assert len(flight.pairs("vnir", "swir", within_s=1)) == 40
        assert (flight.cameras["swir"].lines.shape, vnir.level) == ((9, 3, 5), -1)
        assert (len(flight), flight.gaps, len(flight.runs)) == (3, (), 2)
        assert repr(flight) == "<Flight of 3 cubes of the cameras swir, vnir>"
        for what in ("lines", "level", "wavelengths_nm", "dataset"):
            with pytest.raises(ArgumentError, match=r"cameras 'swir', 'vnir': choose one, flight.cameras"):
                getattr(flight, what)
        with pytest.raises(ArgumentError, match=r"no camera 'nir': it has 'swir', 'vnir'"):
            flight.pairs("vnir", "nir")
        with pytest.raises(ArgumentError, match="within_s must be"):
            flight.pairs("vnir", "swir", within_s=-1)


def test_a_clock_that_was_set_between_cubes_moves_no_pair_and_two_flights_are_not_mixed(tmp_path: Path) -> None:
    for joint_id, boot_ms in (("monday", 0), ("tuesday", 86_400_000)):  # the monotonic clock began anew in between
        write(tmp_path, "vnir", range(0, 50, 5), joint_id, boot_ms)
        write(tmp_path, "swir", range(0, 50, 5), joint_id, boot_ms + 3_600_000)
        write(tmp_path, "vnir", range(50, 100, 5), joint_id, boot_ms + 3_600_000)
        write(tmp_path, "swir", range(50, 100, 5), joint_id, boot_ms + 3_600_000)
    with open_flight(tmp_path) as flight:
        pairs = flight.pairs("vnir", "swir")
        assert not pairs.apart_s.any()
        assert len(pairs) == 40
        assert sorted(pairs.cubes) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_cubes_that_were_not_recorded_together_are_paired_by_utc(tmp_path: Path) -> None:
    write(tmp_path, "vnir", range(0, 50, 5), "")
    write(tmp_path, "swir", range(1, 51, 5), "")
    with open_flight(tmp_path) as flight:
        pairs = flight.pairs("vnir", "swir", within_s=0.002)
        assert np.allclose(pairs.apart_s, 0.001)
        assert (pairs.first.tolist(), pairs.second.tolist()) == ([*range(10)], [*range(10)])


def test_what_takes_a_folder_as_one_sequence_of_lines_refuses_those_of_two_cameras(tmp_path: Path) -> None:
    write(tmp_path, "vnir", range(10))
    write(tmp_path, "swir", range(10))
    with pytest.raises(FileError, match=r"cubes of the cameras '(swir|vnir)' and '(swir|vnir)': replay those of one"):
        inspect_cubes(tmp_path)
    with pytest.raises(ArgumentError, match="a replay of a flight with the cameras 'swir', 'vnir'"):
        CubeRanges(CubeSource([tmp_path]))
