"""A stand-in for PySpin of FLIR's Spinnaker SDK: the calls that a recording needs, with Spinnaker's names and errors.

Written from public examples of its use. Like the real one it raises if a camera is still referenced when the system is
released.
"""

from typing import Any

import numpy as np
from stand_in_sensor import BENCH, BOOLEAN, ENUMERATION, INTEGER, STRING, Node, Sensor, Unplugged, nodes_of, on_the_wire

intfIInteger, intfIBoolean, intfICommand, intfIFloat, intfIString, intfIEnumeration = 2, 3, 4, 5, 6, 9


class SpinnakerException(Exception):
    def __init__(self, message: str, errorcode: int) -> None:
        super().__init__(f"Spinnaker: {message} [{errorcode}]")
        self.errorcode = errorcode


class INode:
    def __init__(self, node: Node) -> None:
        self._node = node

    def GetName(self) -> str:
        return self._node.name

    def GetPrincipalInterfaceType(self) -> int:
        return self._node.kind


class _Pointer:
    def __init__(self, of: Any) -> None:
        self._node = of._node

    def GetValue(self) -> Any:
        return self._node.get()

    def SetValue(self, value: Any) -> None:
        _put(self._node, value)

    def GetMin(self) -> float:
        return self._node.low()

    def GetMax(self) -> float:
        return self._node.high()

    def GetInc(self) -> float:
        return self._node.step or 1


class CIntegerPtr(_Pointer):
    def SetValue(self, value: Any) -> None:
        if type(value) is not int:
            raise TypeError("in method 'IInteger_SetValue', argument 2 of type 'int64_t'")
        _put(self._node, value)


class CFloatPtr(_Pointer):
    pass


class CBooleanPtr(_Pointer):
    pass


class CStringPtr(_Pointer):
    pass


class CCommandPtr(_Pointer):
    def Execute(self) -> None:
        self._node.set(True)


class _Entry:
    def __init__(self, node: Node, name: str) -> None:
        self._node, self._name = node, name


class CEnumEntryPtr:
    def __init__(self, entry: _Entry) -> None:
        self._node, self._entry = entry._node, entry

    def GetValue(self) -> int:
        return self._node.entries.index(self._entry._name)

    def GetSymbolic(self) -> str:
        return self._entry._name


class CEnumerationPtr(_Pointer):
    def GetCurrentEntry(self) -> CEnumEntryPtr:
        return CEnumEntryPtr(_Entry(self._node, self._node.get()))

    def GetEntryByName(self, name: str) -> _Entry | None:
        return _Entry(self._node, name) if name in self._node.entries else None

    def GetEntries(self) -> list[_Entry]:
        return [_Entry(self._node, name) for name in self._node.entries]

    def SetIntValue(self, value: int) -> None:
        _put(self._node, self._node.entries[value])


def _put(node: Node, value: Any) -> None:
    try:
        node.put(value)
    except ValueError as error:
        raise SpinnakerException(str(error), -2002) from None


def IsAvailable(node: Any) -> bool:
    return True


def IsReadable(node: Any) -> bool:
    return True


def IsWritable(node: Any) -> bool:
    return node._node.is_writable


class NodeMap:
    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes

    def GetNode(self, name: str) -> INode | None:
        return INode(self._nodes[name]) if name in self._nodes else None

    def GetNodes(self) -> list[INode]:
        return [INode(node) for node in self._nodes.values()]


class Image:
    def __init__(self, camera: "Camera", shot: Any, data: bytes) -> None:
        self._camera, self._shot, self._data = camera, shot, data

    def IsIncomplete(self) -> bool:
        return not self._shot.is_whole

    def GetFrameID(self) -> int:
        return self._shot.number

    def GetTimeStamp(self) -> int:
        return self._shot.time_us * 1000

    def GetData(self) -> np.ndarray:
        if self._data is None:
            raise SpinnakerException("Image was released", -1006)
        return np.frombuffer(self._data, np.uint8)

    def Release(self) -> None:
        self._data = None
        self._camera.n_images -= 1


class Camera:
    def __init__(self, sensor: Sensor) -> None:
        self._sensor, self.n_images, self._is_open = sensor, 0, False
        self._stream = {"mode": "NewestOnly", "count": 10, "manual": "Auto"}
        texts = {
            "DeviceSerialNumber": sensor.serial,
            "DeviceModelName": sensor.model,
            "DeviceType": "GigEVision" if sensor.period_of_numbers == 65535 else "USB3Vision",
        }
        self._about = {name: Node(name, STRING, lambda text=text: text) for name, text in texts.items()}

    def Init(self) -> None:
        if self._sensor.is_open:
            raise SpinnakerException("Camera is already in use", -1004)
        self._sensor.power_on()
        self._sensor.is_open = self._is_open = True
        self._nodes = nodes_of(self._sensor)
        self._nodes["AcquisitionMode"] = self._word("AcquisitionMode", ["SingleFrame", "Continuous"])

    def _word(self, name: str, entries: list[str]) -> Node:
        self._stream.setdefault(name, entries[0])
        return Node(
            name,
            ENUMERATION,
            lambda: self._stream[name],
            lambda value: self._stream.__setitem__(name, value),
            entries=entries,
        )

    def DeInit(self) -> None:
        if self._sensor.is_streaming:
            self.EndAcquisition()
        self._sensor.is_open = self._is_open = False

    def IsValid(self) -> bool:
        return self._sensor.is_plugged

    def GetUniqueID(self) -> str:
        return self._sensor.serial

    def GetTLDeviceNodeMap(self) -> NodeMap:
        return NodeMap(self._about)

    def GetNodeMap(self) -> NodeMap:
        self._check()
        return NodeMap(self._nodes)

    def GetTLStreamNodeMap(self) -> NodeMap:
        def count(value: int) -> None:
            self._stream["count"] = value

        manual = Node("StreamBufferCountManual", INTEGER, lambda: self._stream["count"], count, lambda: 1, lambda: 500)
        manual.is_locked = lambda: self._stream["StreamBufferCountMode"] != "Manual"
        handling = self._word("StreamBufferHandlingMode", ["NewestOnly", "NewestFirst", "OldestFirst"])
        nodes = [handling, self._word("StreamBufferCountMode", ["Auto", "Manual"]), manual]
        nodes.append(Node("StreamCRCCheckEnable", BOOLEAN, lambda: False))
        return NodeMap({node.name: node for node in nodes})

    def _check(self) -> None:
        if not self._is_open or not self._sensor.is_plugged:
            raise SpinnakerException("Camera is not initialized", -1002)

    def BeginAcquisition(self) -> None:
        self._check()
        if self._sensor.is_streaming:
            raise SpinnakerException("Camera is already streaming", -1004)
        if self._stream["AcquisitionMode"] != "Continuous":
            raise SpinnakerException("this stand-in streams continuously", -1003)
        self._sensor.start(self._stream["count"])

    def EndAcquisition(self) -> None:
        if self.n_images:
            raise SpinnakerException(f"{self.n_images} images were not released", -1004)
        self._sensor.stop()
        self._check()

    def GetNextImage(self, timeout_ms: int) -> Image:
        if not self._sensor.is_streaming:
            raise SpinnakerException("Camera is not streaming", -1002)
        if self._stream["StreamBufferHandlingMode"] != "OldestFirst":
            raise SpinnakerException("this stand-in gives the oldest first", -1003)
        try:
            shot = self._sensor.take(timeout_ms / 1000)
        except Unplugged:
            raise SpinnakerException("Stream has been aborted", -1012) from None
        if shot is None:
            raise SpinnakerException("Failed waiting for EventData", -1011)
        self.n_images += 1
        return Image(self, shot, on_the_wire(shot.image, self._nodes["PixelFormat"].get()))


class CameraList:
    def __init__(self, cameras: list[Camera]) -> None:
        self._cameras = cameras

    def GetSize(self) -> int:
        return len(self._cameras)

    def GetByIndex(self, index: int) -> Camera:
        return self._cameras[index]

    def Clear(self) -> None:
        self._cameras = []


class System:
    _instance: "System | None" = None
    n_held = 0

    @classmethod
    def GetInstance(cls) -> "System":
        cls._instance = cls._instance or cls()
        System.n_held += 1
        return cls._instance

    def GetCameras(self) -> CameraList:
        return CameraList([Camera(sensor) for sensor in BENCH.found()])

    def ReleaseInstance(self) -> None:
        System.n_held -= 1
        if System.n_held < 0:
            raise SpinnakerException("the system was released too often", -1004)
