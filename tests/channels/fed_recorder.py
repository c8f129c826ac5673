"""A recorder that is fed by hand."""

import numpy as np

from openhsi_shared.channels import CallbackChannel, Recorder
from tests.support.helpers import wait_for

START_NS = 1_795_000_000 * 10**9
PERIOD_NS = 10**9 // 120
SHAPE = (40, 60)


class Fed:
    """A recorder of two scalars and an image, all with the same stamps."""

    def __init__(self, *names, image=None, **keywords):
        self.channels = {name: CallbackChannel(name) for name in names or ("a", "b")}
        given = dict(self.channels)
        if image is not None:
            self.channels["img"] = CallbackChannel("img", shape=SHAPE)
            given["img"] = self.channels["img"]
        self.recorder = Recorder(given, **keywords)

    def push(self, k, only=None):
        for place, (name, channel) in enumerate(self.channels.items()):
            if only is None or name in only:
                value = image_of(k) if name == "img" else float(k + 100 * place)
                channel.push(value, START_NS + k * PERIOD_NS)

    def feed(self, n, first=0):
        """Push n shots, and wait for their rows."""
        came = Counter(self.recorder.new_row)
        for k in range(first, first + n):
            self.push(k)
        came.wait_for(n)


class Counter:
    """Counts a signal."""

    def __init__(self, signal):
        self.signal, self.heard = signal, []
        signal.connect(self.hear, check_nargs=False)

    def hear(self, *arguments):
        self.heard.append(arguments)

    def wait_for(self, n):
        wait_for(lambda: len(self.heard) >= n)
        self.signal.disconnect(self.hear)


def image_of(k):
    """Flat, as EPICS delivers it; its spot moves down."""
    image = np.zeros(SHAPE, np.uint16)
    image[5 + k % 20 : 12 + k % 20, 20:30] = 1000
    return image.reshape(-1)
