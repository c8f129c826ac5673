"""The plan of a recording: invalid arguments, and the same plan from keywords and from the command line."""

import dataclasses
import json
import os
import re

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.analysis import Analysis
from openhsi_shared.channels import GpsChannel, GpsdChannel, PolledChannel
from openhsi_shared.cli.record import _keywords
from openhsi_shared.cli.record import record as command
from openhsi_shared.errors import ArgumentError
from openhsi_shared.processes.spawning import pack, unpack
from openhsi_shared.recording.plan import RecordingPlan
from openhsi_shared.recording.record import record
from openhsi_shared.writer.save_request import SaveRequest
from tests.support import live_pairs
from tests.support.flow import COUNTING

CPU = min(os.sched_getaffinity(0))
BAD = [
    ({"n_cubes": 0}, "n_cubes must be a whole number > 0, or None for no limit, got 0"),
    ({"n_cubes": 2.5}, "n_cubes must be a whole number > 0, or None for no limit, got 2.5"),
    ({"n_cubes": True}, "n_cubes must be a whole number > 0, or None for no limit, got True"),
    ({"seconds": -1}, "seconds must be a number > 0, or None for no limit, got -1"),
    ({"seconds": "long"}, "seconds must be a number > 0, or None for no limit, got 'long'"),
    ({"n_lines": 0}, "n_lines must be a whole number > 0, got 0"),
    ({"n_lines": 2.5}, "n_lines must be a whole number > 0, got 2.5"),
    ({"n_buffers": 1}, "n_buffers must be 2 or more"),
    ({"when_full": "maybe"}, "when_full must be one of ('block', 'drop', 'stop'), got 'maybe'"),
    ({"compression": "zip"}, "compression must be one of (None, 'deflate', 'zstd'), got 'zip'"),
    ({"fallback_dirs": [5]}, "fallback_dirs must be a sequence of directories, got [5]"),
    ({"niceness": "x"}, "niceness must be a whole number from -20 (first) to 19 (last), got 'x'"),
    ({"niceness": 20}, "niceness must be a whole number from -20 (first) to 19 (last), got 20"),
    ({"cpus": "x"}, "cpus must be numbers of processors, got 'x'"),
    ({"cpus": (99999,)}, "cpus must be among those that this process may use"),
    ({"prefix": "a/b"}, "prefix 'a/b' cannot be part of a file's name"),
]


@pytest.mark.parametrize(("keywords", "words"), BAD)
def test_what_cannot_be_recorded_is_refused_when_the_plan_is_made(keywords, words):
    with pytest.raises(ArgumentError, match=re.escape(words)):
        RecordingPlan.of(SharedSimulatedCamera, "out", **keywords)


@pytest.mark.parametrize(("camera", "save_dir"), [("simulated", "out"), (None, "out"), (SharedSimulatedCamera, "")])
def test_no_camera_or_no_directory_is_refused(camera, save_dir):
    with pytest.raises(ArgumentError, match=r"needs a camera class|must be a directory"):
        RecordingPlan.of(camera, save_dir)


def test_every_keyword_goes_where_it_belongs(tmp_path):
    plan = RecordingPlan.of(
        SharedSimulatedCamera,
        tmp_path,
        n_lines=9,
        seconds=1.5,
        cpus=[CPU],
        prefix="a",
        savefig=False,
        rate=50,
        writers=2,
    )
    assert plan.request == SaveRequest(tmp_path, prefix="a", savefig=False)
    assert (plan.n_lines, plan.n_cubes, plan.seconds, plan.cpus) == (9, None, 1.5, (CPU,))
    assert plan.camera_options == {"rate": 50, "writers": 2}
    assert plan.camera_keywords == {"n_lines": 9, "n_buffers": 3, "when_full": "drop", "rate": 50, "writers": 2}
    assert plan.save_dir == str(tmp_path)


@pytest.mark.parametrize(("whole", "number"), [(np.int64, np.float32), (np.uint8, np.int16)])
def test_numbers_of_numpy_are_numbers(whole, number):
    """What is computed from a dataset is one; of all arguments of recordings, channels and analyses."""
    plan = RecordingPlan.of(
        SharedSimulatedCamera,
        "out",
        niceness=whole(3),
        n_cubes=whole(3),
        capture_every=whole(3),
        connect_timeout_s=number(3),
        save_when="mark",
        keep_before_s=number(3),
        keep_after_s=number(3),
        n_lines=whole(100),
        n_buffers=whole(8),
        rate=number(100),
        average=whole(2),
    )
    assert (plan.line_rate, plan.event.keep_before_s, plan.capture_every) == (50.0, 3.0, 3)
    of_channels = ("tolerance_s", "gap_s", "max_age_s", "latency_s", "clock_offset_s")
    channel = PolledChannel("a", float, number(2), **{name: number(3) for name in of_channels})
    properties = json.loads(json.dumps(dataclasses.asdict(channel.properties)))
    assert [properties[name] for name in of_channels] == [3.0] * 5
    assert (channel.period_s, properties["rate"]) == (2.0, 0.5)
    assert GpsdChannel("b", port=np.int64(2947)).port == GpsChannel("c", "/dev/null", np.int64(2947)).baudrate == 2947
    analysis = Analysis(live_pairs.Ids, n_workers=whole(2), port=whole(0), niceness=whole(1), patience_s=number(9))
    assert [type(one) for one in (analysis.n_workers, analysis.port, analysis.patience_s)] == [int, int, float]
    with SharedSimulatedCamera(
        **COUNTING, n_lines=whole(4), rate=number(100), queue=whole(5), n_frames=whole(4)
    ) as camera:
        camera.collect(progress=False)
        assert camera.n_collected == 4


@pytest.mark.parametrize("name", ["camera", "request", "camera_options"])
def test_a_keyword_of_no_one_is_left_for_the_camera_to_refuse(name):
    assert RecordingPlan.of(SharedSimulatedCamera, "out", **{name: 5}).camera_options == {name: 5}


def test_it_cannot_be_changed_and_travels_whole():
    plan = RecordingPlan.of(SharedSimulatedCamera, "out", n_cubes=3, mode="counting")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.n_cubes = 4
    assert unpack(pack(plan)) == plan


def test_record_and_the_plan_have_the_same_defaults():
    defaults = {item.name: item.default for item in dataclasses.fields(RecordingPlan)}
    for name in ("n_lines", "n_cubes", "seconds", "n_buffers", "when_full", "niceness", "cpus"):
        assert record.__kwdefaults__[name] == defaults[name]


def test_the_command_line_makes_the_same_plan():
    arguments = f"--lines 7 --cubes 2 --level 1 --prefix a --rate 50 --option cpus=[{CPU}]"
    context = command.make_context("record", arguments.split())
    with context:
        keywords = _keywords(context.params)
    plan = RecordingPlan.of(SharedSimulatedCamera, context.params["out"], **keywords)
    assert (plan.n_lines, plan.n_cubes, plan.when_full, plan.cpus) == (7, 2, "drop", (CPU,))
    assert plan.request == SaveRequest("flight", prefix="a")
    options = {key: value for key, value in plan.camera_options.items() if value is not None}
    assert options == {"processing_lvl": 1, "fallback_dirs": [], "rate": 50.0}
