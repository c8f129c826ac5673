"""An IOC of EPICS base, in a process of its own: `python softioc_server.py PREFIX RATE`.

`a` is the second of the day of its stamp, `b` twice that, `c` the number of the update; all have one stamp.
"""

import sys
import threading
import time

import numpy as np
from softioc import alarm, asyncio_dispatcher, builder, softioc

SHAPE = (256, 300)


def main(prefix: str, rate: float) -> None:
    builder.SetDeviceName(prefix)
    scalars = [builder.aIn(name, EGU=unit, PREC=6, TSE=-2) for name, unit in zip("abc", ("s", "mm", ""), strict=True)]
    lamp = builder.mbbIn("lamp", "off", "on", "warming up", initial_value=1)
    builder.stringIn("text", initial_value="a name")
    invalid = builder.aIn("invalid", TSE=-2)
    builder.aIn("never", TSE=-2)  # its time is not set: it has the stamp 1990
    builder.WaveformIn("three", initial_value=np.array([1.0, 2.0, 3.0]))
    image = builder.WaveformIn("img", length=SHAPE[0] * SHAPE[1], datatype=np.uint16, TSE=-2)
    builder.aOut("setpoint", initial_value=5.0, EGU="degC", always_update=True)
    builder.LoadDatabase()
    softioc.iocInit(asyncio_dispatcher.AsyncioDispatcher())
    lamp.set(1)

    def feed() -> None:
        k, due = 0, time.perf_counter()
        while True:
            k += 1
            stamp = time.time()
            second = stamp % 86400
            for record, value in zip(scalars, (second, 2 * second, float(k)), strict=True):
                record.set(value, timestamp=stamp)
            invalid.set(float(k), severity=alarm.INVALID_ALARM, alarm=alarm.READ_ALARM, timestamp=stamp)
            if k % 10 == 1:
                image.set(np.full(SHAPE[0] * SHAPE[1], k % 65536, np.uint16), timestamp=stamp)
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))

    threading.Thread(target=feed, daemon=True).start()
    print("up", flush=True)  # noqa: T201
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
