"""A PVAccess server, in a process of its own: `python p4p_server.py PREFIX RATE [IMAGE_RATE]`.

`a` is the second of the day of its stamp, `c` the number of the update, also as the user tag; `img` is an NTNDArray.
"""

import sys
import threading
import time

import numpy as np
from p4p.nt import NTEnum, NTNDArray, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

SHAPE = (48, 64)


def main(prefix: str, rate: float, image_rate: float) -> None:
    unit = NTScalar("d", display=True)
    second, count = (SharedPV(initial=unit.wrap(0.0, timestamp=time.time())) for _ in range(2))
    lamp = SharedPV(nt=NTEnum(), initial={"index": 1, "choices": ["off", "on"]})
    text = SharedPV(nt=NTScalar("s"), initial="a name")
    three = SharedPV(nt=NTScalar("ad"), initial=[1.0, 2.0, 3.0])
    image = SharedPV(initial=NTNDArray().wrap(np.zeros(SHAPE, np.uint16)))
    pvs = {"a": second, "c": count, "lamp": lamp, "text": text, "three": three, "img": image}

    def post(pv, value, stamp, k):
        whole = unit.wrap(value, timestamp=stamp)
        whole["timeStamp.userTag"] = k
        whole["display.units"] = "s"
        pv.post(whole)

    def feed() -> None:
        k, due = 0, time.perf_counter()
        while True:
            k += 1
            stamp = time.time()
            post(second, stamp % 86400, stamp, k)
            post(count, float(k), stamp, k)
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))

    def show() -> None:
        k = 0
        while True:
            k += 1
            picture = np.full(SHAPE, k % 65536, np.uint16)
            picture[0, 1] = 7  # row 0, column 1: else no test sees a transposed image
            whole = NTNDArray().wrap(picture, timestamp=time.time())
            whole["uniqueId"] = k
            image.post(whole)
            time.sleep(1 / image_rate)

    with Server(providers=[{f"{prefix}:{name}": pv for name, pv in pvs.items()}]):
        for run in (feed, show):
            threading.Thread(target=run, daemon=True).start()
        print("up", flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 20.0)
