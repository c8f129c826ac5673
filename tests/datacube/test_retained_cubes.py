"""Full cubes that wait in their slots: what is recycled too early, and wanted after all, is lost and declared."""

import time

import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.writer.save_request import SaveRequest
from tests.support.flow import COUNTING, cubes_in
from tests.support.helpers import wait_for

N_LINES = 4


@pytest.fixture
def camera():
    script = {5: "gap", 17: "gap", 30: "gap"}
    with SharedSimulatedCamera(**COUNTING, n_lines=N_LINES, n_buffers=3, script=script, when_full="drop") as camera:
        camera.start_streaming()
        yield camera


def moment():
    """A moment that is not near any line."""
    now_ns = time.monotonic_ns() + 2 * 10**7
    wait_for(lambda: time.monotonic_ns() > now_ns + 2 * 10**7)
    return now_ns


def fill(camera, retained, n_cubes):
    for _ in range(n_cubes):
        for _ in range(N_LINES):
            camera.take_line()
        retained.retain()


def test_frames_that_were_not_wanted_are_not_lost_and_those_of_an_event_are(camera, tmp_path):
    retained, request = camera.retained_cubes(0.0), SaveRequest(tmp_path)
    retained.wait()
    fill(camera, retained, 2)  # 0 to 8, without 5
    since_ns = moment()
    fill(camera, retained, 2)  # 9 to 16
    assert camera.status().lines_lost == 0, "the frame that was skipped is in a cube that is recycled"
    camera.take_line()  # 18, after a gap
    saved = retained.save_since(since_ns, request, {"event": 1})
    assert [handle.n_lines for handle in saved] == [N_LINES] * 2
    camera.take_line()
    saved.append(camera.save_with({"event": 1}, request))
    retained.wait()
    for handle in saved:
        handle.result(60)
    fill(camera, retained, 3)  # 20 to 32, without 30
    retained.drop()
    status = camera.status()
    assert (status.lines_lost, status.lost_ids) == (1, ((17, 17),))
    cubes = cubes_in(tmp_path)
    assert [cube.numbers for cube in cubes] == [[9, 10, 11, 12], [13, 14, 15, 16], [18, 19]]
    assert [cube.attributes["lost_frame_ids"] for cube in cubes] == ["", "", "17"]
    assert [cube.attributes.get("frames_not_wanted", 0) for cube in cubes] == [9, 0, 0]
    assert retained.n_lines_recycled == 5 * N_LINES


def test_cubes_that_had_to_be_recycled_too_early_are_lost_if_an_event_begins(camera, tmp_path):
    retained, request = camera.retained_cubes(60.0), SaveRequest(tmp_path)
    retained.wait()
    begun_ns = time.monotonic_ns()
    fill(camera, retained, 4)  # the first two are recycled
    assert (retained.n_too_early, camera.status().lines_lost) == (2, 0)
    saved = retained.save_since(begun_ns - 60 * 10**9, request, {"event": 1})
    camera.take_line()
    saved.append(camera.save_with({"event": 1}, request))
    assert camera.status().lines_lost == 9 + 1
    for handle in saved:
        handle.result(60)
    cubes = cubes_in(tmp_path)
    assert [number for cube in cubes for number in cube.numbers] == [9, 10, 11, 12, 13, 14, 15, 16, 18]
    assert [cube.attributes["lost_frame_ids"] for cube in cubes] == ["0-8", "", "17"], "declared by the file after them"
    assert [cube.attributes.get("frames_not_wanted", 0) for cube in cubes] == [0, 0, 0]


def test_what_is_lost_before_a_pause_is_not_wanted_either(camera, tmp_path):
    retained, request = camera.retained_cubes(0.0), SaveRequest(tmp_path)
    retained.wait()
    fill(camera, retained, 4)
    camera._engine.filler.lose(camera._engine.filler.ledger.next_id)  # no slot was free
    assert camera.status().lines_lost == 1
    camera.pass_over_frames(iter([True] * 3 + [False]).__next__)
    fill(camera, retained, 3)
    since_ns = moment()
    fill(camera, retained, 1)
    for handle in retained.save_since(since_ns, request, {"event": 1}):
        handle.result(60)
    assert camera.status().lines_lost == 0
    (cube,) = cubes_in(tmp_path)
    assert (cube.attributes["lines_lost"], cube.attributes["frames_paused"] >= 3) == (0, True)
    assert cube.attributes["frames_not_wanted"] + cube.attributes["frames_paused"] == cube.ids[0]


def test_what_is_lost_at_the_end_of_an_event_the_next_event_declares(camera, tmp_path):
    retained, request = camera.retained_cubes(0.0), SaveRequest(tmp_path)
    retained.wait()
    retained.save_since(0, request, {"event": 1})
    camera.take_line()
    camera.save_with({"event": 1}, request).result(60)
    camera._engine.filler.lose(camera._engine.filler.ledger.next_id)  # no slot was free: frame 1
    retained.wait()
    fill(camera, retained, 5)  # cubes that declare it are recycled
    since_ns = moment()
    fill(camera, retained, 1)
    saved = retained.save_since(since_ns, request, {"event": 2})
    camera.take_line()
    for handle in (*saved, camera.save_with({"event": 2}, request)):
        handle.result(60)
    first, *second = cubes_in(tmp_path)
    assert camera.status().lost_ids == ((1, 1),)
    assert "".join(cube.attributes["lost_frame_ids"] for cube in (first, *second)) == "1"
    n_between = second[0].ids[0] - first.ids[-1] - 1
    assert n_between == sum(cube.attributes.get("frames_not_wanted", 0) + len(cube.lost_ids) for cube in second)
