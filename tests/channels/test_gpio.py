"""A button and a lamp at gpiozero's mock pins."""

import threading
import time

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.channels import ButtonToggle, RecordingLamp, gpio
from openhsi_shared.errors import ChannelError, RecordingError
from tests.support.flow import SMALL
from tests.support.helpers import wait_for


@pytest.fixture
def pins():
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before


def press(pins, number=17):
    time.sleep(0.06)  # not a bounce of the press before
    pins.pin(number).drive_low()
    pins.pin(number).drive_high()


def test_a_recording_goes_on_from_one_press_to_the_next_and_the_lamp_shows_it(pins, tmp_path):
    with ButtonToggle(17) as button, RecordingLamp(27) as lamp:
        lamp_pin = pins.pin(27)
        assert (button.status, button.wait(0.01), lamp_pin.state) == (False, False, 0)
        threading.Timer(0.1, press, (pins,)).start()
        assert button.wait(60)
        keywords = {**SMALL, "n_lines": 64, "rate": 200.0, "progress": False}
        with record(SharedSimulatedCamera, tmp_path, toggle=button, **keywords) as run:
            lamp.follow(run)
            wait_for(lambda: run.status().lines > 64)
            wait_for(lambda: lamp_pin.state == 1)
            assert run.is_running
            press(pins)
            assert run.wait().lines > 64
        wait_for(lambda: lamp_pin.state == 0)
        assert not button.status


def test_contacts_that_bounce_are_one_press(pins, monkeypatch):
    monkeypatch.setattr(gpio, "BOUNCE_S", 20.0)
    with ButtonToggle("GPIO17") as button:
        for _ in range(4):
            pins.pin(17).drive_low()
            pins.pin(17).drive_high()
        assert button.status


class Running:
    """A recording that loses lines, or does not answer, when a test says so."""

    is_running, lines_lost, answers = True, 0, True

    def status(self):
        if not self.answers:
            raise RecordingError("the recording does not respond")
        return self


@pytest.mark.parametrize("trouble", [{"lines_lost": 3}, {"answers": False}], ids=str)
def test_the_lamp_blinks_while_lines_are_lost_or_nobody_answers(pins, trouble):
    with RecordingLamp(27) as lamp:
        run, pin = Running(), pins.pin(27)
        lamp.follow(run)
        wait_for(lambda: pin.state == 1)
        vars(run).update(trouble)
        for state in (0, 1, 0):
            wait_for(lambda state=state: pin.state == state)
        run.answers, run.is_running = True, False
        wait_for(lambda: len(lamp_changes(pin)) == 0)
        assert pin.state == 0


def lamp_changes(pin, seconds=0.4):
    end, before, found = time.monotonic() + seconds, pin.state, []
    while time.monotonic() < end:
        time.sleep(0.002)
        if pin.state != before:
            before = pin.state
            found.append(before)
    return found


@pytest.mark.parametrize("what", [ButtonToggle, RecordingLamp])
def test_a_pin_that_cannot_be_used_is_one_clear_error(what, pins, monkeypatch):
    with what(17), pytest.raises(ChannelError, match="pin 17: "):
        what(17)
    with pytest.raises(ChannelError, match="on pin 999: "):
        what(999)
    monkeypatch.setattr(Device, "pin_factory", None)
    with pytest.raises(ChannelError, match=r"on pin 4: .*this computer has none, or its library \(such as lgpio\)"):
        what(4)
    Device.pin_factory = pins
