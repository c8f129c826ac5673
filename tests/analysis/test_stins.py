import json

import numpy as np
import pytest

from openhsi_shared.analysis.events import StreamData
from openhsi_shared.analysis.stins import StinsEnd, StinsHeader, StinsImage, end_frame, header_frame, image_frame
from openhsi_shared.errors import CaptureError


def test_packets_have_the_names_of_their_json_and_pixels_without_a_copy():
    data = np.arange(6, dtype=np.uint16).reshape(2, 3)
    header = StreamData("STINS", [header_frame('a "b".nc', 3)]).parse()
    assert isinstance(header, StinsHeader)
    assert (header.htype, header.filename, header.msg_number) == ("header", 'a "b".nc', 3)

    view = memoryview(bytearray(data.tobytes()))
    image = StreamData("STINS", [image_frame(7, (2, 3), "uint16", 8), view]).parse()
    assert isinstance(image, StinsImage)
    assert (image.frame, image.shape, image.type, image.compression, image.msg_number) == (
        7,
        [2, 3],
        "uint16",
        "none",
        8,
    )
    assert image.data.tolist() == data.tolist()
    assert not image.data.flags.writeable
    view[0] = 99
    assert image.data[0, 0] == 99
    assert "data" not in repr(image)

    end = StreamData("STINS", [memoryview(end_frame(9))]).parse()
    assert isinstance(end, StinsEnd)
    assert (end.htype, end.msg_number) == ("series_end", 9)


def test_additional_names_of_the_json_are_attributes():
    packet = StreamData("STINS", [b'{"htype": "header", "filename": "", "msg_number": 0, "exposure": 2.5}']).parse()
    assert vars(packet)["exposure"] == 2.5


def _image(**changes: object) -> bytes:
    return json.dumps(json.loads(image_frame(0, (2, 3), "uint16", 1)) | changes).encode()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "it has no frames"),
        ([b"\x00\x01"], r"not a STINS packet.*series_end"),
        ([b"[1]"], "not a STINS packet"),
        ([b'{"htype": "other"}'], "not a STINS packet"),
        ([b'{"htype": "header", "msg_number": 0}'], "without filename"),
        ([image_frame(0, (2, 3), "uint16", 1)], "with 1 frames"),
        ([_image(compression="bslz4"), b"abc"], "compressed by 'bslz4'"),
        ([_image(), bytes(13)], "13 bytes are not of shape"),
        ([_image(), bytes(10)], "10 bytes are not of shape"),
        ([_image(shape=[-1, 3]), bytes(12)], "12 bytes are not of shape"),
        ([_image(type="object"), bytes(12)], "12 bytes are not of shape"),
        ([_image(type="no such"), bytes(12)], "12 bytes are not of shape"),
    ],
)
def test_what_is_no_whole_packet_is_one_error(frames: list[bytes | memoryview], message: str):
    with pytest.raises(CaptureError, match=message):
        StreamData("STINS", frames).parse()


def test_a_stream_of_another_typ_names_the_parsers_of_dranspose():
    with pytest.raises(CaptureError, match=r"'xspress'.*dranspose.middlewares"):
        StreamData("xspress", [b"{}"]).parse()


def test_get_bytes_copies_frames():
    memory = bytearray(b"abc")
    copied = StreamData("STINS", [memoryview(memory)]).get_bytes()
    memory[0] = 0
    assert (copied.typ, copied.frames, copied.length) == ("STINS", [b"abc"], 1)
