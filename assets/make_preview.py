"""Make `preview.png`, the picture in the README: the preview of a cube that the simulated camera recorded.

    python assets/make_preview.py

It is a copy of the file that was saved beside the cube.
"""

import shutil
import tempfile
from pathlib import Path

from openhsi_shared import SharedSimulatedCamera, record

TARGET = Path(__file__).parent / "preview.png"


def make() -> None:
    with tempfile.TemporaryDirectory() as directory:
        with record(
            SharedSimulatedCamera,
            directory,
            n_lines=960,
            n_cubes=1,
            n_buffers=2,
            when_full="block",
            processing_lvl=0,
            progress=False,
        ) as run:
            summary = run.wait()
        shutil.copyfile(summary.paths[0].with_suffix(".png"), TARGET)
    print(f"{TARGET}: {summary}")


if __name__ == "__main__":
    make()
