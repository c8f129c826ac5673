"""Channels: everything else that was true at the time of a line, from any source.

A *channel* is a named source of samples: one value, or several with one time stamp::

    a source  ──▶  delivering  ──▶  buffers/samples  ──▶  the writer matches them to lines
    (a module      stamps and       a ring in shared
    for each)      counts           memory

`properties` are checked when a channel is made, `channel` is the base class of the sources, `addresses` makes them of
texts and TOML files. `hosting` opens and watches sources, in `process`, a process of their own, which `supervisor`
starts and replaces. `status` is read from the memory. Import names from here: the package that a source needs is
imported when that source is opened.
"""

from typing import TYPE_CHECKING

from openhsi_shared.lazy_names import lazy_names

if TYPE_CHECKING:
    from openhsi_shared.channels.addresses import channel_from_text, channels_from
    from openhsi_shared.channels.callback import CallbackChannel
    from openhsi_shared.channels.channel import Channel
    from openhsi_shared.channels.delivering import Deliver
    from openhsi_shared.channels.epics import EpicsChannel
    from openhsi_shared.channels.gpio import ButtonToggle, RecordingLamp
    from openhsi_shared.channels.gps import GpsChannel
    from openhsi_shared.channels.gpsd import GpsdChannel
    from openhsi_shared.channels.log import LogChannel
    from openhsi_shared.channels.polled import PolledChannel
    from openhsi_shared.channels.properties import Field
    from openhsi_shared.channels.pulses import PulseChannel
    from openhsi_shared.channels.pva import PvaChannel
    from openhsi_shared.channels.recorder import Recorder
    from openhsi_shared.channels.recorder.files import read_rows
    from openhsi_shared.channels.simulated import SimulatedChannel
    from openhsi_shared.channels.system import SystemChannel
    from openhsi_shared.matching.states import State

__all__ = [
    "ButtonToggle",
    "CallbackChannel",
    "Channel",
    "Deliver",
    "EpicsChannel",
    "Field",
    "GpsChannel",
    "GpsdChannel",
    "LogChannel",
    "PolledChannel",
    "PulseChannel",
    "PvaChannel",
    "Recorder",
    "RecordingLamp",
    "SimulatedChannel",
    "State",
    "SystemChannel",
    "channel_from_text",
    "channels_from",
    "read_rows",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "channels.addresses": "channel_from_text channels_from",
        "channels.callback": "CallbackChannel",
        "channels.channel": "Channel",
        "channels.delivering": "Deliver",
        "channels.epics": "EpicsChannel",
        "channels.gpio": "ButtonToggle RecordingLamp",
        "channels.gps": "GpsChannel",
        "channels.gpsd": "GpsdChannel",
        "channels.log": "LogChannel",
        "channels.polled": "PolledChannel",
        "channels.properties": "Field",
        "channels.pulses": "PulseChannel",
        "channels.pva": "PvaChannel",
        "channels.recorder": "Recorder",
        "channels.recorder.files": "read_rows",
        "channels.simulated": "SimulatedChannel",
        "channels.system": "SystemChannel",
        "matching.states": "State",
    },
)
