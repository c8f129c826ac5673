"""A server whose PVs have one stamp for each shot: `python shots_server.py pva|ca PREFIX RATE N_SHOTS ROWS COLUMNS`.

`a` is the number of the shot, `b` twice that, `c` the second of the day; `img` is an image (pva: NTNDArray, ca: a flat
waveform of uint16) with a spot whose first row is 10 + that number modulo 40. It begins when a client puts `go`.
"""

import sys
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Post = Callable[[int, float, NDArray[np.uint16]], None]


def pictures(shape: tuple[int, int]) -> list[NDArray[np.uint16]]:
    found = []
    for k in range(40):
        picture = np.zeros(shape, np.uint16)
        picture[10 + k : 17 + k, 30:40] = 1000
        found.append(picture)
    return found


def feed(post: Post, started: threading.Event, rate: float, n_shots: int, shape: tuple[int, int]) -> None:
    images = pictures(shape)
    started.wait()
    due = time.perf_counter()
    for k in range(n_shots):
        post(k, time.time(), images[k % 40])
        due += 1 / rate
        time.sleep(max(0.0, due - time.perf_counter()))


def serve(run: Callable[[Post, threading.Event], None], post: Post, started: threading.Event) -> None:
    threading.Thread(target=run, args=(post, started), daemon=True).start()
    print("up", flush=True)  # noqa: T201
    threading.Event().wait()


def over_pva(prefix: str, shape: tuple[int, int], run: Callable[[Post, threading.Event], None]) -> None:
    from p4p.nt import NTNDArray, NTScalar
    from p4p.server import Server
    from p4p.server.thread import SharedPV

    unit = NTScalar("d")
    scalars = [SharedPV(initial=unit.wrap(0.0, timestamp=1.0)) for _ in range(3)]
    image = SharedPV(initial=NTNDArray().wrap(np.zeros(shape, np.uint16), timestamp=1.0))
    go, started = SharedPV(nt=unit, initial=0.0), threading.Event()

    @go.put
    def on_put(pv: object, operation: object) -> None:
        started.set()
        operation.done()

    def post(k: int, stamp: float, picture: NDArray[np.uint16]) -> None:
        for pv, value in zip(scalars, (float(k), 2.0 * k, stamp % 86400), strict=True):
            pv.post(unit.wrap(value, timestamp=stamp))
        whole = NTNDArray().wrap(picture, timestamp=stamp)
        whole["uniqueId"] = k
        image.post(whole)

    pvs = {"a": scalars[0], "b": scalars[1], "c": scalars[2], "img": image, "go": go}
    with Server(providers=[{f"{prefix}:{name}": pv for name, pv in pvs.items()}]):
        serve(run, post, started)


def over_ca(prefix: str, shape: tuple[int, int], run: Callable[[Post, threading.Event], None]) -> None:
    from softioc import asyncio_dispatcher, builder, softioc

    builder.SetDeviceName(prefix)
    started = threading.Event()
    scalars = [builder.aIn(name, TSE=-2) for name in "abc"]
    image = builder.WaveformIn("img", length=shape[0] * shape[1], datatype=np.uint16, TSE=-2)
    builder.aOut("go", on_update=lambda _: started.set())
    builder.LoadDatabase()
    softioc.iocInit(asyncio_dispatcher.AsyncioDispatcher())

    def post(k: int, stamp: float, picture: NDArray[np.uint16]) -> None:
        for record, value in zip(scalars, (float(k), 2.0 * k, stamp % 86400), strict=True):
            record.set(value, timestamp=stamp)
        image.set(picture.reshape(-1), timestamp=stamp)

    serve(run, post, started)


def main(transport: str, prefix: str, rate: float, n_shots: int, shape: tuple[int, int]) -> None:
    def run(post: Post, started: threading.Event) -> None:
        feed(post, started, rate, n_shots, shape)

    {"pva": over_pva, "ca": over_ca}[transport](prefix, shape, run)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), (int(sys.argv[5]), int(sys.argv[6])))
