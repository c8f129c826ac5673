"""A caproto IOC, in a process of its own: `python caproto_server.py PREFIX RATE`. Its names may contain a dot."""

import sys
import time

from caproto import ChannelType
from caproto.server import PVGroup, pvproperty, run


class Values(PVGroup):
    position = pvproperty(value=0.0, name="stage.x", units="mm")
    shutter = pvproperty(value="closed", name="shutter", enum_strings=["closed", "open"], dtype=ChannelType.ENUM)
    rate = 10.0

    @position.startup
    async def position(self, instance, async_lib):
        print("up", flush=True)  # noqa: T201
        while True:
            stamp = time.time()
            await instance.write(value=stamp % 86400, timestamp=stamp)
            await async_lib.library.sleep(1 / self.rate)


if __name__ == "__main__":
    Values.rate = float(sys.argv[2])
    run(Values(prefix=sys.argv[1] + ":").pvdb, interfaces=["127.0.0.1"])
