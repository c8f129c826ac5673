"""A stand-in for `arena_api.system`: the calls that a recording needs, with Lucid's names and errors.

Written from public examples of its use.
"""

import ctypes
from enum import Enum
from typing import Any

from stand_in_sensor import BENCH, BOOLEAN, ENUMERATION, Node, Sensor, Unplugged, nodes_of, on_the_wire


class InterfaceType(Enum):
    INTEGER, BOOLEAN, COMMAND, FLOAT, STRING, ENUMERATION = 2, 3, 4, 5, 6, 9


class _Entry:
    is_readable = True


class _Node:
    def __init__(self, node: Node) -> None:
        self._node, self.interface_type = node, InterfaceType(node.kind)
        self.is_readable = True

    @property
    def is_writable(self) -> bool:
        return self._node.is_writable

    @property
    def value(self) -> Any:
        return self._node.get()

    @value.setter
    def value(self, value: Any) -> None:
        self._node.put(value)

    @property
    def min(self) -> float:
        return self._node.low()

    @property
    def max(self) -> float:
        return self._node.high()

    @property
    def inc(self) -> float:
        return self._node.step or 1

    @property
    def enumentry_names(self) -> list[str]:
        return self._node.entries

    @property
    def enumentry_nodes(self) -> dict[str, _Entry]:
        return {name: _Entry() for name in self._node.entries}

    def execute(self) -> None:
        self._node.set(True)


class _NodeMap:
    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes, self.feature_names = nodes, list(nodes)

    def get_node(self, name: str) -> _Node:
        if name not in self._nodes:
            raise ValueError(f"{name} node does not exist in this nodemap")
        return _Node(self._nodes[name])


class _Buffer:
    def __init__(self, shot: Any, data: bytes) -> None:
        self.frame_id, self.timestamp_ns, self.is_incomplete = shot.number, shot.time_us * 1000, not shot.is_whole
        self._memory = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        self.pdata = ctypes.cast(self._memory, ctypes.POINTER(ctypes.c_uint8))
        self.size_filled = len(data)


class Device:
    def __init__(self, sensor: Sensor) -> None:
        if sensor.is_open:
            raise ValueError("Access denied, device is opened by another process (-1005)")
        sensor.power_on()
        sensor.is_open = True
        self._sensor, self._nodes, self.n_buffers = sensor, nodes_of(sensor), 0
        stream = {"StreamBufferHandlingMode": "NewestOnly", "StreamPacketResendEnable": False}

        def of(name: str) -> dict[str, Any]:
            return {"get": lambda: stream[name], "set": lambda value: stream.__setitem__(name, value)}

        handling, resend = "StreamBufferHandlingMode", "StreamPacketResendEnable"
        entries = ["NewestOnly", "OldestFirst", "OldestFirstOverwrite"]
        self._stream = {
            handling: Node(handling, ENUMERATION, **of(handling), entries=entries),
            resend: Node(resend, BOOLEAN, **of(resend)),
        }

    @property
    def nodemap(self) -> _NodeMap:
        if not self._sensor.is_plugged:
            raise RuntimeError("Device is disconnected (-1010)")
        return _NodeMap(self._nodes)

    @property
    def tl_stream_nodemap(self) -> _NodeMap:
        return _NodeMap(self._stream)

    def is_connected(self) -> bool:
        return self._sensor.is_plugged

    def start_stream(self, number_of_buffers: int = 10) -> None:
        if self._sensor.is_streaming:
            raise RuntimeError("stream is already started")
        self._sensor.start(number_of_buffers)

    def stop_stream(self) -> None:
        if self.n_buffers:
            raise RuntimeError(f"{self.n_buffers} buffers were not requeued")
        self._sensor.stop()

    def get_buffer(self, number_of_buffers: int = 1, timeout: int = 1000) -> _Buffer:
        if not self._sensor.is_streaming:
            raise RuntimeError("Stream not started (-1002)")
        if self._stream["StreamBufferHandlingMode"].get() != "OldestFirst":
            raise RuntimeError("this stand-in gives the oldest first")
        try:
            shot = self._sensor.take(timeout / 1000)
        except Unplugged:
            raise RuntimeError("Device is disconnected (-1010)") from None
        if shot is None:
            raise TimeoutError("No image was delivered within the timeout (-1011)")
        self.n_buffers += 1
        return _Buffer(shot, on_the_wire(shot.image, self._nodes["PixelFormat"].get()))

    def requeue_buffer(self, buffer: _Buffer) -> None:
        buffer.pdata = None
        self.n_buffers -= 1


class _System:
    @property
    def device_infos(self) -> list[dict[str, str]]:
        return [
            {"serial": sensor.serial, "model": sensor.model, "vendor": "Lucid Vision Labs", "mac": "1c:0f:af:00:00:01"}
            for sensor in BENCH.found()
        ]

    def create_device(self, device_infos: Any = None) -> list[Device]:
        infos = [device_infos] if isinstance(device_infos, dict) else device_infos
        return [Device(sensor) for info in infos for sensor in BENCH.found() if sensor.serial == info["serial"]]

    def destroy_device(self, device: Device) -> None:
        if device._sensor.is_streaming:
            device.stop_stream()
        device._sensor.is_open = False


system = _System()
