"""`python -m openhsi_shared.viewer.demo`: simulated frames in a ring, shown by a viewer.

Cells that drift across a field of 512 x 512 pixels, with photon noise; no camera is needed.
"""

import time
from collections.abc import Iterator

import click
import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.ring import SharedRing
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.viewer.ring_viewer import Backend, Viewer

__all__ = ["main", "simulated_frames"]

N_FRAMES = 48
"""Computed in advance, so that this does not limit the rate, and repeated."""
IN_RING = 16


def simulated_frames(side: int = 512, n_cells: int = 12, seed: int = 0) -> NDArray[np.uint16]:
    """Make frames of a field of round cells that drift, (frame, row, column); a seamless loop."""
    random = np.random.default_rng(seed)
    axis = np.arange(side, dtype=np.float32)
    frames = np.full((N_FRAMES, side, side), 200, np.float32)
    for begin, radius in zip(random.uniform(0, side, (n_cells, 2)), random.uniform(0.02, 0.07, n_cells), strict=True):
        drift = side * random.integers(-1, 2, 2) / N_FRAMES  # an integer number of fields over all frames
        for number, frame in enumerate(frames):
            away = [(axis - at + side / 2) % side - side / 2 for at in begin + number * drift]  # wraps around
            profiles = [np.exp(-((distance / (radius * side)) ** 2)) for distance in away]
            np.add(frame, 1500 * np.outer(*profiles), out=frame, casting="same_kind")
    return random.poisson(frames).astype(np.uint16)


def _paced(rate: float, seconds: float | None) -> Iterator[int]:
    """Count at `rate` per second."""
    begun, number = time.monotonic(), 0
    while seconds is None or number < rate * seconds:
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        yield number
        number += 1


@click.command(help="Show the newest simulated frame; s saves the frame that is shown.")
@click.option("--backend", type=click.Choice(["browser", "matplotlib"]), default="browser", show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=None, help="Duration.  [default: until the viewer is closed]"
)
@click.option("--rate", type=click.FloatRange(min=0.1), default=100.0, show_default=True, help="Frames per second.")
def main(backend: Backend, seconds: float | None, rate: float) -> None:
    """Put frames until the time has elapsed, the viewer is closed, or Ctrl-C."""
    frames = simulated_frames()
    n_put = 0
    try:
        with (
            SharedRing(IN_RING * frames[0].nbytes, create=True) as ring,
            Viewer(ring, frames[0].shape, backend=backend) as viewer,
        ):
            click.echo(f"{viewer.url or 'a window'}: press s to save the frame, Ctrl-C to quit", err=True)
            viewer.wait_ready()
            for number in _paced(rate, seconds):
                ring.put(frames[number % N_FRAMES])
                n_put += 1
                if not viewer.is_open:
                    break
    except KeyboardInterrupt:
        click.echo(err=True)
    except OpenHSIError as error:
        raise click.ClickException(str(error)) from error
    n_shown = viewer.shown.n_shown if viewer.shown is not None else 0
    click.echo(f"{n_put} frames put, {n_shown} shown, {len(viewer.saved)} saved")


if __name__ == "__main__":
    main()
