"""Saves that children are killed or stopped in: apart from the tests, whose imports take as long."""

import os
import signal
from pathlib import Path

import numpy as np

from openhsi_shared.files.writing import CubeWriter
from openhsi_shared.save_options import SaveOptions
from tests.support.cubes import make_cube

UUID = "00000000-0000-5000-8000-000000000001"


def kill_at(connection, directory, point, options, cube_options):
    def passed(here):
        if here == point:
            os.kill(os.getpid(), signal.SIGKILL)

    save(directory, passed, options, cube_options)


def stop_at(connection, directory, point, options, cube_options):
    def passed(here):
        if here == point:
            connection.send(here)
            connection.poll(None)  # until the other side closes the pipe

    save(directory, passed, options, cube_options)


def save(directory, passed, options, cube_options):
    cube = make_cube(9, 30, 40, uuid=UUID, **cube_options)
    with CubeWriter(9, (30, 40), np.uint16, SaveOptions(**options)) as writer:
        return writer.write(cube, [Path(directory)], prefix="pass1_", passed=passed).path
