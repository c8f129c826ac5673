"""A recorder that is fed by hand; and the contract of channels shows its values when a test fails."""

import pytest

from tests.channels.fed_recorder import Fed


@pytest.fixture
def fed():
    made = []

    def make(*names, **keywords):
        made.append(Fed(*names, **keywords))
        made[-1].recorder.start()
        return made[-1]

    yield make
    for one in made:
        one.recorder.stop()
