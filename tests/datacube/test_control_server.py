"""Answers of a camera to requests of other programs."""

import gc
import json
import os
import threading
import time
import weakref

import numpy as np
import pytest

from openhsi_shared import SharedDataCube
from openhsi_shared.control.messages import (
    AskGlance,
    AskSlots,
    AskStatus,
    Mark,
    Marked,
    Pause,
    Request,
    Stop,
    Stopping,
)
from openhsi_shared.datacube.control_server import MAX_GAPS
from openhsi_shared.errors import ClosedError, RecordingError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.frames.losses import IdRange
from tests.support.control import RECORDING_STATUS
from tests.support.helpers import wait_for

SHAPE = (3, 4)


@pytest.fixture
def cube():
    with SharedDataCube(n_lines=6, resolution=SHAPE, pixel_format="Mono12") as cube:
        yield cube


class Recording:
    """A recording that has lost many frames."""

    save_dir = "flight"

    def __init__(self):
        self.is_stopped = False

    def status(self):
        gaps = tuple(IdRange(k, k) for k in range(0, 4 * MAX_GAPS, 2))
        return RECORDING_STATUS.__class__(**vars(RECORDING_STATUS) | {"lost_ids": gaps})

    def ask_to_stop(self):
        self.is_stopped = True


def close(reply):
    for descriptor in reply.descriptors:
        os.close(descriptor)


def test_a_camera_of_a_program_tells_its_status_and_cannot_be_stopped(cube, tmp_path):
    server = cube.control_server()
    cube.put(np.zeros(SHAPE, np.uint16))
    assert server.answer(AskStatus()).answer.status.lines == 1
    glance = server.answer(AskGlance()).answer
    assert (glance.phase, glance.camera, glance.program_id) == ("running", "SharedDataCube", os.getpid())
    assert glance.save_dir == ""
    assert np.isnan(glance.disk_minutes_left)
    cube.save(tmp_path).result(60)
    glance = server.answer(AskGlance()).answer
    assert glance.save_dir == str(tmp_path)
    assert glance.disk_minutes_left > 0
    for message, way_out in ((Stop(), "stop it in the program"), (Pause(), "pause it in the program")):
        with pytest.raises(RecordingError, match=way_out):
            server.answer(message)


def test_slots_come_with_what_a_reader_must_know(cube):
    reply = cube.control_server().slots()
    about = reply.answer.about
    close(reply)
    assert reply.answer.export.layout.line_shape == SHAPE
    assert (about.kind, about.full_scale, about.level, about.can_stop) == ("camera", 4095, -1, False)


def test_a_glance_at_a_recording_has_the_newest_gaps_and_the_status_has_all(cube):
    server = cube.control_server(Recording())
    glance = server.answer(AskGlance()).answer
    assert (len(glance.status.lost_ids), glance.n_gaps) == (MAX_GAPS, 2 * MAX_GAPS)
    assert glance.status.lost_ids[-1] == IdRange(4 * MAX_GAPS - 2, 4 * MAX_GAPS - 2)
    assert glance.program_id == os.getppid()
    assert len(server.answer(AskStatus()).answer.status.lost_ids) == 2 * MAX_GAPS


def test_a_recording_is_asked_to_stop(cube):
    recording = Recording()
    assert cube.control_server(recording).answer(Stop()).answer == Stopping()
    assert recording.is_stopped


def test_what_is_no_request_of_a_camera_is_refused(cube):
    class Mark(Request[Stopping]):
        pass

    with pytest.raises(RecordingError, match="unsupported request Mark"):
        cube.control_server().answer(Mark())


def test_a_closed_camera_answers_nothing():
    with SharedDataCube(n_lines=6, resolution=SHAPE) as cube:
        server = cube.control_server(Recording())
    for asked in (AskStatus(), AskGlance(), AskSlots(), Stop()):
        with pytest.raises(ClosedError, match="the camera is closed"):
            server.answer(asked)
    with pytest.raises(ClosedError, match="is closed"):
        cube.control_server()


def test_a_server_does_not_keep_the_camera_alive():
    cube = SharedDataCube(n_lines=6, resolution=SHAPE)
    server, reference = cube.control_server(), weakref.ref(cube)
    del cube
    wait_for(lambda: (gc.collect(), reference() is None)[1])
    with pytest.raises(ClosedError):
        server.answer(AskStatus())


def test_the_end_is_announced_to_clients_only(cube):
    server = cube.control_server()
    server.announce_end("an error", timeout_s=1000)  # returns at once: there is no client
    server = cube.control_server()
    assert server.answer(AskGlance()).answer.phase == "running"
    ending = threading.Thread(target=server.announce_end, args=("an error", 30))
    ending.start()
    wait_for(lambda: server.phase == "ended")
    assert ending.is_alive(), "the client has not read it yet"
    glance = server.answer(AskGlance()).answer
    assert (glance.phase, glance.ended_by) == ("ended", "an error")
    ending.join(60)
    assert not ending.is_alive()


def test_a_camera_of_a_program_takes_marks(cube, tmp_path):
    cube.put(np.zeros(SHAPE, np.uint16))
    assert cube.control_server().answer(Mark("here", time.monotonic_ns())) == (Marked(), ())
    cube.put(np.zeros(SHAPE, np.uint16))
    with open_cube(cube.save(tmp_path).result(60).path) as saved:
        assert [(mark["line"], mark["text"]) for mark in json.loads(saved.attributes["marks"])] == [(1, "here")]
