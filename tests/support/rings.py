"""Functions on rings that children run, and the files of rings."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared import SharedRing, Viewer
from openhsi_shared.buffers import ring_file
from tests.support.helpers import TIMEOUT_S


def path_of(name: str) -> Path:
    return ring_file._path_of(name)


def put_constants(connection: Any, name: str, capacity_bytes: int, shape: tuple[int, ...], n: int) -> None:
    """Create a ring; after a message, put frames filled with their number at full speed; wait for another message."""
    with SharedRing(capacity_bytes, name, create=True) as ring:
        connection.send("made")
        connection.recv()
        for number in range(n):
            ring.put(np.full(shape, number % 65536, np.uint16))
        connection.send("put")
        connection.recv()


def make_and_wait(connection: Any, name: str) -> None:
    """Create a ring with one item, and wait to be killed."""
    ring = SharedRing(64, name, create=True)
    ring.put(np.arange(8, dtype=np.uint16))
    connection.send(os.getpid())
    connection.recv()


def look(ring: SharedRing) -> dict[str, Any]:
    """Contents of a ring that a child gets as an argument, and the errors of writing to it."""
    newest = ring.latest()
    assert newest is not None
    try:
        ring.put(np.zeros(1, ring.dtype))
    except ValueError as error:
        refused = f"{type(error).__name__}: {error}"
    try:
        ring[0:1][0] = 7
    except ValueError as error:
        read_only = str(error)
    return {"newest": newest.data.tolist(), "number": newest.number, "put": refused, "write": read_only}


def follow_from(connection: Any, ring: SharedRing, first: int) -> None:
    """Report the start; at the end, send the items: numbers, missed, first pixels."""
    items = ring.follow(first, TIMEOUT_S)
    connection.send("ready")
    connection.send([(item.number, item.missed, int(item.data[0])) for item in items])


def quadrants(n_rows: int = 64, n_columns: int = 96) -> Any:
    """A frame with 0, 1000, 2000 and 4000 in its quadrants: top left, top right, bottom left, bottom right."""
    frame = np.zeros((n_rows, n_columns), np.uint16)
    frame[: n_rows // 2, n_columns // 2 :] = 1000
    frame[n_rows // 2 :, : n_columns // 2] = 2000
    frame[n_rows // 2 :, n_columns // 2 :] = 4000
    return frame


def view_and_wait(connection: Any, ring: SharedRing) -> None:
    """Own a viewer of a ring, and wait to be killed."""
    viewer = Viewer(ring, (64, 96), backend="matplotlib").wait_ready()
    connection.send(viewer.process_id)
    connection.recv()
