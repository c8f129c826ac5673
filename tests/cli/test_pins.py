"""`record --button --lamp`, at gpiozero's mock pins."""

import os
import signal
import threading
import time
from pathlib import Path

from click.testing import CliRunner
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from openhsi_shared.cli.pins import pin_from
from openhsi_shared.cli.record import record
from tests.support.helpers import wait_for


def test_each_press_begins_or_ends_a_recording_until_the_command_is_interrupted(tmp_path: Path) -> None:
    config, out = tmp_path / "flight.toml", tmp_path / "flight"
    config.write_text(
        f'[record]\nbutton = 17\nlamp = "GPIO27"\nlines = 1000\nrate = 200.0\nout = "{out}"\n'
        "[camera]\nresolution = [16, 32]\nrow_slice = [0, 16]\nqueue = 9999\n"
    )
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    button, lamp = Device.pin_factory.pin(17), Device.pin_factory.pin(27)

    def press() -> None:
        time.sleep(0.06)  # not a bounce of the press before
        button.drive_low()
        button.drive_high()

    def fly() -> None:
        wait_for(lambda: button.when_changed is not None and lamp.function == "output")
        for _ in range(2):
            press()
            wait_for(lambda: lamp.state == 1)
            press()
            wait_for(lambda: lamp.state == 0)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=fly)
    thread.start()
    try:
        done = CliRunner().invoke(record, ["--config", str(config)])
    finally:
        thread.join(60)
        Device.pin_factory.reset()
        Device.pin_factory = before
    assert done.exit_code in (0, 130), "interrupted while the last cube was saved, or after that"
    assert done.output.count("lost      0") == 2
    assert [pin_from(text) for text in ("17", 17, "GPIO17")] == [17, 17, "GPIO17"]
