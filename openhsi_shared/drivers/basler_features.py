"""Features of a Basler camera, by GenICam name: looked at, set, and refused in words that help.

A feature is found by `feature(camera, name)`, None if the camera has it not. Written for pypylon 4, where features are
GenICam's interfaces, and for its successors, where they are pylon's parameters, which are such interfaces too.
"""

import warnings
from typing import Any

import numpy as np

from openhsi_shared.errors import SettingsError
from openhsi_shared.settings import nearest_name

with warnings.catch_warnings():  # where DeprecationWarning is an error, importing pypylon kills the interpreter
    warnings.simplefilter("ignore", DeprecationWarning)
    from pypylon import genicam

__all__ = [
    "PIXEL_TYPES",
    "camera_name",
    "feature",
    "is_readable",
    "is_writable",
    "nearest_allowed",
    "reason",
    "set_integer",
    "set_node",
    "set_pixel_format",
    "set_window",
    "switch_off",
    "value_of",
]

PIXEL_TYPES = {"Mono16": np.uint16, "Mono12": np.uint16, "Mono10": np.uint16, "Mono8": np.uint8}
"""Pixel formats that can be recorded, deepest first: one number to a pixel, not packed."""


def camera_name(info: Any) -> str:
    """How a camera is called in messages."""
    return f"Basler {info.GetModelName()} {info.GetSerialNumber()}"


def feature(camera: Any, name: str) -> Any:
    """Find a feature of an open camera; None if it has it not."""
    return _find(camera.GetNodeMap(), name)


def _find(nodes: Any, name: str) -> Any:
    try:
        node = nodes.GetNode(name)
    except genicam.LogicalErrorException:  # pypylon 4; later ones give a node that is not implemented
        return None
    return node if genicam.IsImplemented(node) else None


def is_writable(node: Any) -> bool:
    """Whether a feature is there and can be set now."""
    return node is not None and bool(genicam.IsWritable(node))


def is_readable(node: Any) -> bool:
    """Whether a feature is there and has a value now."""
    return node is not None and bool(genicam.IsReadable(node))


def value_of(camera: Any, name: str) -> Any:
    """Read a feature; None if the camera has it not, or does not show it now."""
    node = feature(camera, name)
    return node.GetValue() if is_readable(node) else None


def switch_off(camera: Any, name: str) -> None:
    """Turn off what can be turned off, whether the camera knows it as a switch or as a word."""
    node = feature(camera, name)
    if is_writable(node):
        node.SetValue(False if isinstance(node, genicam.IBoolean) else "Off")


def set_pixel_format(camera: Any, wanted: str | None) -> None:
    """Set the pixel format; None: the deepest of 10 to 16 bits."""
    name = camera_name(camera.GetDeviceInfo())
    node = feature(camera, "PixelFormat")
    offered = [known for known in PIXEL_TYPES if known in _choices(node)]
    if wanted is None:
        wanted = next((known for known in offered if PIXEL_TYPES[known] is np.uint16), None)
    if wanted not in offered:
        plain = str(wanted).removesuffix("Packed").removesuffix("p")
        is_packed = plain != wanted and plain in offered
        hint = f" (packed pixels are not read: set {plain!r})" if is_packed else nearest_name(str(wanted), offered)
        what = f"pixel_format {wanted!r}" if wanted else "16 bit, as no pixel_format says otherwise,"
        raise SettingsError(f"{what} cannot be recorded from {name}{hint}; set pixel_format to one of {offered}")
    node.SetValue(wanted)


def set_window(camera: Any, size: tuple[int, int], offset: tuple[int, int]) -> None:
    """Set the window on the sensor, (rows, columns) and (y, x); a size of 0 is all that there is behind the offset."""
    axes = (("Height", "OffsetY"), ("Width", "OffsetX"))
    for _, offset_name in axes:  # the range of an offset shrinks as the window grows
        if is_writable(feature(camera, offset_name)):
            feature(camera, offset_name).SetValue(0)
    for (size_name, _), wanted, start in zip(axes, size, offset, strict=True):
        node = feature(camera, size_name)
        set_integer(camera, size_name, wanted or nearest_allowed(node, node.GetMax() - start), "win_resolution")
    for (_, offset_name), start in zip(axes, offset, strict=True):
        if start:
            set_integer(camera, offset_name, start, "win_offset")


def set_integer(camera: Any, name: str, value: int, key: str) -> None:
    """Set a whole number of the settings' `key`. SettingsError names the nearest that the camera takes."""
    node, camera_is = feature(camera, name), camera_name(camera.GetDeviceInfo())
    if not is_writable(node):
        raise SettingsError(f"{key}: {camera_is} does not let its {name} be set to {value}; leave {key} out")
    nearest = nearest_allowed(node, value)
    if nearest != value:
        raise SettingsError(
            f"{key}: {name} of {camera_is} must be {_expected(node)}, got {value}; the nearest is {nearest}"
        )
    node.SetValue(value)


def set_node(camera: Any, name: str, value: bool | int | float | str) -> None:
    """Set any feature of camera or stream grabber, or execute a command. SettingsError for what it does not know."""
    camera_is = camera_name(camera.GetDeviceInfo())
    for nodes in (camera.GetNodeMap(), camera.GetStreamGrabberNodeMap()):
        node = _find(nodes, name)
        if node is not None:
            break
    else:
        known = sorted({node.GetNode().GetName() for node in camera.GetNodeMap().GetNodes()})
        raise SettingsError(f"nodes: {camera_is} has no feature {name!r}{nearest_name(name, known)}")
    try:
        if isinstance(node, genicam.ICommand):
            node.Execute()
        else:
            node.SetValue(value)
    except (genicam.GenericException, TypeError, AttributeError) as error:
        why = reason(error) if isinstance(error, genicam.GenericException) else "wrong type"
        hint = nearest_name(str(value), _choices(node)) if isinstance(node, genicam.IEnumeration) else ""
        raise SettingsError(
            f"nodes: {name} of {camera_is} must be {_expected(node)}, got {value!r}{hint}: {why}"
        ) from error


def nearest_allowed(node: Any, value: int) -> int:
    """Round to what a whole-number feature can take."""
    low, high, step = node.GetMin(), node.GetMax(), node.GetInc()
    return int(low + min(max(round((value - low) / step), 0), (high - low) // step) * step)


def reason(error: Exception) -> str:
    """What GenICam says, without where in its source it says so."""
    text = str(error)
    return (text.rpartition(" : ")[0] or text).rstrip(". ")


def _choices(node: Any) -> list[str]:
    return [entry.GetSymbolic() for entry in node.GetEntries() if genicam.IsAvailable(entry)]


def _expected(node: Any) -> str:
    if isinstance(node, genicam.IEnumeration):
        return f"one of {_choices(node)}"
    if isinstance(node, genicam.IInteger):
        return f"a whole number from {node.GetMin()} to {node.GetMax()} in steps of {node.GetInc()}"
    if isinstance(node, genicam.IFloat):
        return f"a number from {node.GetMin():g} to {node.GetMax():g}"
    if isinstance(node, genicam.IBoolean):
        return "true or false"
    return "text" if isinstance(node, genicam.IString) else "a feature that can be set"
