"""Features of a Hikrobot camera, which MVS accesses by name, with one call for each type."""

import ctypes
from typing import Any, Self

from openhsi_shared.drivers.features import Kind

__all__ = ["MvsError", "MvsFeature", "checked"]

MEANINGS = {
    0x80000000: "invalid handle",
    0x80000001: "not supported",
    0x80000003: "wrong order of calls",
    0x80000004: "wrong parameter",
    0x80000007: "no data",
    0x80000100: "GenICam error",
    0x80000102: "out of range",
    0x80000106: "timeout",
    0x80000107: "GenICam feature of another type, or not accessible now",
    0x80000200: "not implemented by the camera",
    0x80000203: "no permission: it is open elsewhere",
    0x80000204: "busy, or disconnected",
    0x80000206: "network error",
}
CODES = {
    "Mono8": 0x01080001,
    "Mono10": 0x01100003,
    "Mono10Packed": 0x010C0004,
    "Mono10p": 0x010A0046,
    "Mono12": 0x01100005,
    "Mono12Packed": 0x010C0006,
    "Mono12p": 0x010C0047,
    "Mono14": 0x01100025,
    "Mono16": 0x01100007,
}
"""Pixel formats, with the numbers of GenICam's naming convention."""
NAMES = {code: name for name, code in CODES.items()}


class MvsError(Exception):
    """A call of MVS returned an error code."""


def checked(code: int, doing: str) -> None:
    """Raise MvsError unless `code` is 0 (success)."""
    code &= 0xFFFFFFFF
    if code:
        raise MvsError(f"{doing}: MVS error {code:#010x}, {MEANINGS.get(code, 'see MvErrorDefine_const.py')}")


class MvsFeature:
    """A feature of the camera, by the calls for its type."""

    def __init__(self, mvs: Any, camera: Any, name: str, kind: Kind) -> None:
        self._mvs, self._camera, self._name, self.kind = mvs, camera, name, kind

    @classmethod
    def found(cls, mvs: Any, camera: Any, name: str) -> Self | None:
        """Find a feature by trying all types; None if there is none."""
        for kind in (Kind.INTEGER, Kind.FLOAT, Kind.ENUMERATION, Kind.BOOLEAN, Kind.STRING):
            feature = cls(mvs, camera, name, kind)
            if feature.is_readable():
                return feature
        return None

    def _value(self) -> tuple[int, Any]:
        """Error code, and MVS' description of the feature."""
        mvs = self._mvs
        structures = {
            Kind.INTEGER: ("MV_CC_GetIntValue", mvs.MVCC_INTVALUE),
            Kind.FLOAT: ("MV_CC_GetFloatValue", mvs.MVCC_FLOATVALUE),
            Kind.ENUMERATION: ("MV_CC_GetEnumValue", mvs.MVCC_ENUMVALUE),
            Kind.BOOLEAN: ("MV_CC_GetBoolValue", ctypes.c_bool * 1),  # an array: some versions do not pass its address
            Kind.STRING: ("MV_CC_GetStringValue", mvs.MVCC_STRINGVALUE),
        }
        method, structure = structures[self.kind]
        value = structure()
        return getattr(self._camera, method)(self._name, value) & 0xFFFFFFFF, value

    def _read(self) -> Any:
        code, value = self._value()
        checked(code, f"reading {self._name}")
        return value

    def is_readable(self) -> bool:
        """Whether it has a value now."""
        return self._value()[0] == 0

    def is_writable(self) -> bool:
        """As `is_readable`: MVS reports it only when it is set."""
        return self.is_readable()

    def get(self) -> Any:
        """Its value; the symbolic name for an enumeration."""
        value = self._read()
        if self.kind is Kind.ENUMERATION:
            return self._word(int(value.nCurValue))
        if self.kind is Kind.INTEGER:
            return int(value.nCurValue)
        if self.kind is Kind.FLOAT:
            return float(value.fCurValue)
        return bool(value[0]) if self.kind is Kind.BOOLEAN else value.chCurValue.decode("utf-8", "replace")

    def set(self, value: Any) -> None:
        """Set it."""
        camera, doing = self._camera, f"setting {self._name} to {value}"
        if self.kind is Kind.ENUMERATION:
            if value in CODES or value.isdigit():
                checked(camera.MV_CC_SetEnumValue(self._name, CODES.get(value) or int(value)), doing)
            else:
                checked(camera.MV_CC_SetEnumValueByString(self._name, value), doing)
            return
        methods = {
            Kind.INTEGER: camera.MV_CC_SetIntValue,
            Kind.FLOAT: camera.MV_CC_SetFloatValue,
            Kind.BOOLEAN: camera.MV_CC_SetBoolValue,
            Kind.STRING: camera.MV_CC_SetStringValue,
        }
        checked(methods[self.kind](self._name, value), doing)

    def limits(self) -> tuple[float, float, float]:
        """Minimum, maximum and increment of a number."""
        value = self._read()
        if self.kind is Kind.INTEGER:
            return value.nMin, value.nMax, value.nInc
        return value.fMin, value.fMax, 0

    def choices(self) -> list[str]:
        """Symbolic names of an enumeration that are available now."""
        value = self._read()
        return [self._word(int(code)) for code in value.nSupportValue[: value.nSupportedNum]]

    def _word(self, code: int) -> str:
        """Symbolic name of an enumeration's number; the number as text if this version does not support it."""
        if self._name == "PixelFormat" and code in NAMES:
            return NAMES[code]
        if hasattr(self._camera, "MV_CC_GetEnumEntrySymbolic") and hasattr(self._mvs, "MVCC_ENUMENTRY"):
            entry = self._mvs.MVCC_ENUMENTRY()
            entry.nValue = code
            if self._camera.MV_CC_GetEnumEntrySymbolic(self._name, entry) & 0xFFFFFFFF == 0:
                return str(entry.chSymbolic.decode("utf-8", "replace"))
        return str(code)
