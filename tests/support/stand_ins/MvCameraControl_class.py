"""A stand-in for MvCameraControl_class of Hikrobot's MVS: the calls that a recording needs, with its names and errors.

Written from the public interface; the structures have only the fields that matter.
"""

import ctypes
from ctypes import POINTER, Structure, c_bool, c_char, c_float, c_int64, c_ubyte, c_uint, c_ushort
from typing import Any

from stand_in_sensor import BENCH, BOOLEAN, ENUMERATION, FLOAT, INTEGER, STRING, Node, Sensor, Unplugged, nodes_of
from stand_in_sensor import on_the_wire as _on_the_wire

MV_OK = 0
MV_E_HANDLE, MV_E_CALLORDER, MV_E_NODATA = 0x80000000, 0x80000003, 0x80000007
MV_E_GC_RANGE, MV_E_GC_ACCESS, MV_E_ACCESS_DENIED = 0x80000102, 0x80000106 - 1, 0x80000203
MV_GIGE_DEVICE, MV_USB_DEVICE = 1, 4

_CODES = {
    "Mono8": 0x01080001,
    "Mono10": 0x01100003,
    "Mono10Packed": 0x010C0004,
    "Mono12": 0x01100005,
    "Mono12Packed": 0x010C0006,
    "BayerRG8": 0x01080009,
}


class MV_GIGE_DEVICE_INFO(Structure):
    _fields_ = [("chModelName", c_ubyte * 32), ("chSerialNumber", c_ubyte * 16)]


class MV_USB3_DEVICE_INFO(Structure):
    _fields_ = [("chModelName", c_ubyte * 64), ("chSerialNumber", c_ubyte * 64)]


class _SpecialInfo(ctypes.Union):
    _fields_ = [("stGigEInfo", MV_GIGE_DEVICE_INFO), ("stUsb3VInfo", MV_USB3_DEVICE_INFO)]


class MV_CC_DEVICE_INFO(Structure):
    _fields_ = [("nTLayerType", c_uint), ("SpecialInfo", _SpecialInfo)]


class MV_CC_DEVICE_INFO_LIST(Structure):
    _fields_ = [("nDeviceNum", c_uint), ("pDeviceInfo", POINTER(MV_CC_DEVICE_INFO) * 256)]


class MVCC_INTVALUE(Structure):
    _fields_ = [("nCurValue", c_uint), ("nMax", c_uint), ("nMin", c_uint), ("nInc", c_uint)]


class MVCC_FLOATVALUE(Structure):
    _fields_ = [("fCurValue", c_float), ("fMax", c_float), ("fMin", c_float)]


class MVCC_ENUMVALUE(Structure):
    _fields_ = [("nCurValue", c_uint), ("nSupportedNum", c_uint), ("nSupportValue", c_uint * 64)]


class MVCC_ENUMENTRY(Structure):
    _fields_ = [("nValue", c_uint), ("chSymbolic", c_char * 64)]


class MVCC_STRINGVALUE(Structure):
    _fields_ = [("chCurValue", c_char * 256), ("nMaxLength", c_int64)]


class MV_FRAME_OUT_INFO_EX(Structure):
    _fields_ = [
        ("nWidth", c_ushort),
        ("nHeight", c_ushort),
        ("enPixelType", c_int64),
        ("nFrameNum", c_uint),
        ("nDevTimeStampHigh", c_uint),
        ("nDevTimeStampLow", c_uint),
        ("nFrameLen", c_uint),
        ("nLostPacket", c_uint),
    ]


class MV_FRAME_OUT(Structure):
    _fields_ = [("pBufAddr", POINTER(c_ubyte)), ("stFrameInfo", MV_FRAME_OUT_INFO_EX)]


_infos: list[MV_CC_DEVICE_INFO] = []
"""The package's own memory of what was found."""


class MvCamera:
    n_handles = 0

    def __init__(self) -> None:
        self._sensor: Sensor | None = None
        self._is_open = False
        self._kept: dict[int, Any] = {}

    @staticmethod
    def MV_CC_EnumDevices(nTLayerType: int, stDevList: MV_CC_DEVICE_INFO_LIST) -> int:
        _infos.clear()
        for number, sensor in enumerate(BENCH.found()):
            info = MV_CC_DEVICE_INFO(nTLayerType=MV_GIGE_DEVICE if sensor.period_of_numbers == 65535 else MV_USB_DEVICE)
            is_gige = info.nTLayerType == MV_GIGE_DEVICE
            about = info.SpecialInfo.stGigEInfo if is_gige else info.SpecialInfo.stUsb3VInfo
            for text, target in ((sensor.model, about.chModelName), (sensor.serial, about.chSerialNumber)):
                target[: len(text)] = list(text.encode())
            _infos.append(info)
            stDevList.pDeviceInfo[number] = ctypes.pointer(info)
        stDevList.nDeviceNum = len(_infos)
        return MV_OK

    def MV_CC_CreateHandle(self, stDevInfo: MV_CC_DEVICE_INFO) -> int:
        is_gige = stDevInfo.nTLayerType == MV_GIGE_DEVICE
        about = stDevInfo.SpecialInfo.stGigEInfo if is_gige else stDevInfo.SpecialInfo.stUsb3VInfo
        serial = bytes(about.chSerialNumber).rstrip(b"\0").decode()
        MvCamera.n_handles += 1
        (self._sensor,) = [sensor for sensor in BENCH.sensors if sensor.serial == serial]
        return MV_OK

    def MV_CC_DestroyHandle(self) -> int:
        self._sensor = None
        MvCamera.n_handles -= 1
        return MV_OK

    def MV_CC_OpenDevice(self, nAccessMode: int = 1, nSwitchoverKey: int = 0) -> int:
        sensor = self._sensor
        if sensor is None:
            return MV_E_HANDLE
        if sensor.is_open:
            return MV_E_ACCESS_DENIED
        sensor.power_on()
        sensor.is_open = self._is_open = True
        self._nodes = nodes_of(sensor, list(_CODES))
        for name in ("BinningHorizontal", "BinningVertical"):  # enumerations here
            node = self._nodes[name]
            words = {f"{name}{factor}": factor for factor in (1, 2, 4)}
            self._nodes[name] = Node(
                name,
                ENUMERATION,
                lambda node=node, name=name: f"{name}{node.get()}",
                lambda word, node=node, words=words: node.set(words[word]),
                entries=list(words),
                is_locked=node.is_locked,
            )
        return MV_OK

    def MV_CC_CloseDevice(self) -> int:
        if not self._is_open or self._sensor is None:
            return MV_E_CALLORDER
        self._is_open = self._sensor.is_open = False
        self._sensor.stop()
        return MV_OK

    def MV_CC_IsDeviceConnected(self) -> bool:
        return self._sensor is not None and self._sensor.is_plugged

    def MV_CC_GetOptimalPacketSize(self) -> int:
        return 8164

    # ---- features ----

    def _found(self, name: str, kind: int) -> Node | None:
        node = self._nodes.get(name)
        return node if node is not None and node.kind == kind and self.MV_CC_IsDeviceConnected() else None

    def _numbers(self, node: Node) -> dict[str, int]:
        known = _CODES if node.name == "PixelFormat" else {}
        return {word: known.get(word, index) for index, word in enumerate(node.entries)}

    def MV_CC_GetIntValue(self, strKey: str, stIntValue: MVCC_INTVALUE) -> int:
        if (node := self._found(strKey, INTEGER)) is None:
            return MV_E_GC_ACCESS
        stIntValue.nCurValue, stIntValue.nInc = int(node.get()), int(node.step or 1)
        stIntValue.nMin, stIntValue.nMax = int(node.low()), int(node.high())
        return MV_OK

    def MV_CC_GetFloatValue(self, strKey: str, stFloatValue: MVCC_FLOATVALUE) -> int:
        if (node := self._found(strKey, FLOAT)) is None:
            return MV_E_GC_ACCESS
        stFloatValue.fCurValue, stFloatValue.fMin, stFloatValue.fMax = node.get(), node.low(), node.high()
        return MV_OK

    def MV_CC_GetBoolValue(self, strKey: str, BoolValue: Any) -> int:
        if (node := self._found(strKey, BOOLEAN)) is None:
            return MV_E_GC_ACCESS
        ctypes.memmove(ctypes.addressof(BoolValue), ctypes.byref(c_bool(node.get())), 1)
        return MV_OK

    def MV_CC_GetStringValue(self, strKey: str, StringValue: MVCC_STRINGVALUE) -> int:
        if (node := self._found(strKey, STRING)) is None:
            return MV_E_GC_ACCESS
        StringValue.chCurValue = node.get().encode()
        return MV_OK

    def MV_CC_GetEnumValue(self, strKey: str, stEnumValue: MVCC_ENUMVALUE) -> int:
        if (node := self._found(strKey, ENUMERATION)) is None:
            return MV_E_GC_ACCESS
        numbers = self._numbers(node)
        stEnumValue.nCurValue, stEnumValue.nSupportedNum = numbers[node.get()], len(numbers)
        stEnumValue.nSupportValue[: len(numbers)] = list(numbers.values())
        return MV_OK

    def MV_CC_GetEnumEntrySymbolic(self, strKey: str, stEnumEntry: MVCC_ENUMENTRY) -> int:
        if (node := self._found(strKey, ENUMERATION)) is None:
            return MV_E_GC_ACCESS
        words = {number: word for word, number in self._numbers(node).items()}
        stEnumEntry.chSymbolic = words[stEnumEntry.nValue].encode()
        return MV_OK

    def _set(self, name: str, kind: int, value: Any) -> int:
        if (node := self._found(name, kind)) is None:
            return MV_E_GC_ACCESS
        try:
            node.put(value)
        except ValueError:
            return MV_E_GC_RANGE
        return MV_OK

    def MV_CC_SetIntValue(self, strKey: str, nValue: int) -> int:
        return MV_OK if strKey == "GevSCPSPacketSize" else self._set(strKey, INTEGER, nValue)

    def MV_CC_SetFloatValue(self, strKey: str, fValue: float) -> int:
        return self._set(strKey, FLOAT, fValue)

    def MV_CC_SetBoolValue(self, strKey: str, bValue: bool) -> int:
        return self._set(strKey, BOOLEAN, bValue)

    def MV_CC_SetStringValue(self, strKey: str, sValue: str) -> int:
        return self._set(strKey, STRING, sValue)

    def MV_CC_SetEnumValueByString(self, strKey: str, sValue: str) -> int:
        return self._set(strKey, ENUMERATION, sValue)

    def MV_CC_SetEnumValue(self, strKey: str, nValue: int) -> int:
        if (node := self._found(strKey, ENUMERATION)) is None:
            return MV_E_GC_ACCESS
        words = {number: word for word, number in self._numbers(node).items()}
        return self._set(strKey, ENUMERATION, words.get(nValue))

    # ---- streaming ----

    def MV_CC_SetImageNodeNum(self, nNum: int) -> int:
        self._n_buffers = nNum
        return MV_OK

    def MV_CC_SetGrabStrategy(self, enGrabStrategy: int) -> int:
        return MV_OK if enGrabStrategy == 0 else MV_E_CALLORDER

    def MV_CC_StartGrabbing(self) -> int:
        if self._sensor is None or self._sensor.is_streaming or not self._sensor.is_plugged:
            return MV_E_CALLORDER
        self._sensor.start(self._n_buffers)
        return MV_OK

    def MV_CC_StopGrabbing(self) -> int:
        if self._sensor is None or self._kept:
            return MV_E_CALLORDER
        self._sensor.stop()
        return MV_OK

    def MV_CC_GetImageBuffer(self, stFrame: MV_FRAME_OUT, nMsec: int) -> int:
        sensor = self._sensor
        if sensor is None or not sensor.is_streaming:
            return MV_E_CALLORDER
        try:
            shot = sensor.take(nMsec / 1000)
        except Unplugged:
            return MV_E_NODATA  # the only sign: no more frames
        if shot is None:
            return MV_E_NODATA
        data = _on_the_wire(shot.image, self._nodes["PixelFormat"].get())
        memory = (c_ubyte * len(data)).from_buffer_copy(data)
        self._kept[ctypes.addressof(memory)] = memory
        stFrame.pBufAddr = ctypes.cast(memory, POINTER(c_ubyte))
        info = stFrame.stFrameInfo
        info.nWidth, info.nHeight, info.nFrameLen = sensor.width, sensor.height, len(data)
        info.nFrameNum, info.nLostPacket = shot.number % 2**32, 0 if shot.is_whole else 3
        info.nDevTimeStampHigh, info.nDevTimeStampLow = divmod(shot.time_us * 1000, 2**32)
        return MV_OK

    def MV_CC_FreeImageBuffer(self, stFrame: MV_FRAME_OUT) -> int:
        del self._kept[ctypes.cast(stFrame.pBufAddr, ctypes.c_void_p).value]
        return MV_OK
