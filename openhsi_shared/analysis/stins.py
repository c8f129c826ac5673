"""STINS, the encoding of a detector's stream: a JSON frame, and after that of an image its pixels.

As written by the `stream1` sources of dranspose 0.2 (`dranspose.data.stream1`), whose attribute names the packets have.
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import CaptureError

__all__ = [
    "TYP",
    "StinsEnd",
    "StinsHeader",
    "StinsImage",
    "StinsPacket",
    "end_frame",
    "header_frame",
    "image_frame",
    "parse",
]

TYP = "STINS"
"""`StreamData.typ` of this encoding."""


class StinsPacket:
    """A packet of a stream; all names of its JSON are attributes, additional ones too."""

    htype: str
    msg_number: int
    """Number of the packet in its stream, from 0 on."""

    required: ClassVar[tuple[str, ...]] = ("msg_number",)
    """Names that its JSON must have."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items() if name != "data")
        return f"{type(self).__name__}({fields})"


class StinsHeader(StinsPacket):
    """The start of a stream."""

    filename: str
    """Where the images are saved; "" if they are not."""

    required = ("msg_number", "filename")


class StinsImage(StinsPacket):
    """An image, or a line."""

    frame: int
    """Number of the image, from 0 on."""
    shape: list[int]
    type: str
    """Name of the numpy type."""
    compression: str
    data: NDArray[Any]
    """The pixels, read-only; they hold until `process_event` returns."""

    required = ("msg_number", "frame", "shape", "type", "compression")


class StinsEnd(StinsPacket):
    """The end of a stream."""


_PACKETS: dict[Any, type[StinsPacket]] = {"header": StinsHeader, "image": StinsImage, "series_end": StinsEnd}


def parse(typ: str, frames: Sequence[bytes | memoryview]) -> StinsPacket:
    """Read the frames of one packet. CaptureError if they are not one, or compressed; no pixels are copied."""
    if typ != TYP:
        raise CaptureError(
            f"a stream of typ {typ!r} is not {TYP}: use the parser of that typ, of dranspose.middlewares"
        )
    try:
        first = frames[0]
        fields = json.loads(first if isinstance(first, bytes) else bytes(first))
        packet = _PACKETS[fields["htype"]]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise CaptureError(
            f"not a {TYP} packet, whose htype is one of {', '.join(_PACKETS)}: {_start(frames)}"
        ) from error
    missing = [name for name in packet.required if name not in fields]
    if missing:
        raise CaptureError(f"{TYP} packet without {', '.join(missing)}: {_start(frames)}")
    if packet is StinsImage:
        fields["data"] = _pixels(fields, frames)
    return packet(fields)


def _pixels(fields: dict[str, Any], frames: Sequence[bytes | memoryview]) -> NDArray[Any]:
    if len(frames) != 2:
        raise CaptureError(f"{TYP} image with {len(frames)} frames: expected 2, JSON and pixels")
    if fields["compression"] != "none":
        raise CaptureError(
            f"{TYP} image {fields['frame']} is compressed by {fields['compression']!r}: capture it uncompressed, or "
            "decompress frames[1] in the worker"
        )
    try:
        data = np.frombuffer(frames[1], fields["type"]).reshape(fields["shape"])
    except (ValueError, TypeError) as error:
        raise CaptureError(_mismatch(fields, frames[1])) from error
    if data.shape != tuple(fields["shape"]):  # numpy takes -1 for any size
        raise CaptureError(_mismatch(fields, frames[1]))
    data.flags.writeable = False
    return data


def _mismatch(fields: dict[str, Any], pixels: bytes | memoryview) -> str:
    n_bytes = memoryview(pixels).nbytes
    return f"{TYP} image {fields['frame']}: {n_bytes} bytes are not of shape {fields['shape']}, type {fields['type']!r}"


def _start(frames: Sequence[bytes | memoryview]) -> str:
    return repr(bytes(frames[0][:200])) if len(frames) else "it has no frames"


def header_frame(filename: str, msg_number: int = 0) -> bytes:
    """First frame of a stream; `filename` is "" if its images are not saved."""
    return json.dumps({"htype": "header", "filename": filename, "msg_number": msg_number}).encode()


def image_frame(frame: int, shape: Sequence[int], dtype: str, msg_number: int) -> bytes:
    """First frame of an image: its number from 0 on, shape, and name of the numpy type; its pixels are the second."""
    sizes = ", ".join(map(str, shape))
    return (
        f'{{"htype": "image", "frame": {frame}, "shape": [{sizes}], "type": "{dtype}", "compression": "none", '
        f'"msg_number": {msg_number}}}'
    ).encode()


def end_frame(msg_number: int) -> bytes:
    """Last frame of a stream."""
    return b'{"htype": "series_end", "msg_number": %d}' % msg_number
