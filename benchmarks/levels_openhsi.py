"""openhsi's own levels; run by a Python that has openhsi, never by that of this library. `levels` is the other side.

Requests are JSON lines on the standard input, answers are JSON lines on the standard output.
"""

import json
import os
import sys
import time
import zlib
from typing import Any

import numpy as np
from openhsi.shared import SharedDataCube  # type: ignore[import-not-found,unused-ignore]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(sys.argv[1])})
    cube: Any = None
    frames: Any = None
    for text in sys.stdin:
        order = json.loads(text)
        if order["do"] == "make":
            frames = np.load(order["frames"])
            paths = {key: order[key] for key in ("json_path", "cal_path")}
            cube = SharedDataCube(order["n_lines"], order["level"], **paths)
            cube.put(frames[0])
            answer = {"crc32": zlib.crc32(cube.dc.data[:, 0].tobytes())}
        else:
            begun = time.perf_counter()
            for number in range(order["n"]):
                cube.put(frames[number % len(frames)])
            answer = {"us": 1e6 * (time.perf_counter() - begun) / order["n"]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
