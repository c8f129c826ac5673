"""Frames of the simulated camera that prove themselves: what the tests of everything else stand on."""

import zlib

import numpy as np
import pytest

from openhsi_shared.drivers.simulated import check_frame, frame_number
from openhsi_shared.errors import ArgumentError
from tests.support.simulating import ids_of, read, settings, started


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12"])
@pytest.mark.parametrize("shape", [(16, 48), (1, 16), (7, 33), (300, 64)])
def test_a_counted_frame_proves_itself(pixel_format, shape):
    frames, stamps = read(started(settings(*shape, pixel_format), mode="counting"), 300)
    assert ids_of(stamps) == list(range(300))
    assert [frame_number(frame) for frame in frames] == list(range(300))
    assert all(check_frame(frame) for frame in frames)
    assert check_frame(np.asfortranarray(frames[3]))


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12"])
def test_a_single_wrong_bit_anywhere_shows(pixel_format):
    frame = read(started(settings(3, 24, pixel_format), mode="counting"), 6)[0][5]
    pixels = frame.view(np.uint8)
    for place in np.ndindex(pixels.shape):
        for bit in range(8):
            pixels[place] ^= 1 << bit
            assert not check_frame(frame), f"byte {place}, bit {bit}"
            pixels[place] ^= 1 << bit
    assert check_frame(frame)


def test_a_torn_line_shows_wherever_it_is_torn():
    one, other = read(started(mode="counting"), 2)[0]
    for n_pixels in range(1, one.size):
        torn = one.copy()
        torn.reshape(-1)[:n_pixels] = other.reshape(-1)[:n_pixels]
        assert not check_frame(torn)


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12"])
def test_frames_differ_in_every_pixel(pixel_format):
    frames = read(started(settings(4, 40, pixel_format), mode="counting"), 256)[0]
    pixels = np.sort(frames[:, :, 16:].reshape(256, -1), axis=0)
    assert (np.diff(pixels.astype(int), axis=0) > 0).all()


def test_the_checksum_is_that_of_all_other_bytes():
    frame = read(started(mode="counting"), 4)[0][3]
    content = frame.tobytes()
    assert int.from_bytes(content[8:12], "little") == zlib.crc32(content[:8] + content[12:])


def test_some_rows_of_a_counted_frame_prove_themselves_too():
    frame = read(started(mode="counting"), 10)[0][9]
    assert frame_number(frame[5:]) == 9
    assert check_frame(frame[5:])
    assert check_frame(frame[:7])
    assert check_frame(frame[8:9])
    assert not check_frame(frame[5::2])
    assert not check_frame(np.vstack([frame[5:], frame[-1:]]))
    assert not check_frame(frame[::-1])
    assert not check_frame(np.zeros_like(frame))
    frame[:, 3] = 10  # a frame of 10 rows has no rows 10 to 15
    assert not check_frame(frame[5:])


def test_frames_far_apart_are_told_from_each_other():
    driver = started(mode="counting", script=dict.fromkeys(range(65536), "gap"))
    (frame,), (stamp,) = read(driver)
    assert stamp.frame_id == frame_number(frame) == 65536
    assert check_frame(frame)
    stale = frame.copy()
    stale[8:] = read(started(mode="counting"))[0][0][8:]
    assert not check_frame(stale)


def test_a_frame_too_small_to_count_is_refused():
    with pytest.raises(ArgumentError, match=r"at least 8 columns of uint16, got \(16, 7\)"):
        started(settings(16, 7), mode="counting")
    with pytest.raises(ArgumentError, match=r"at least 16 columns of uint8, got \(16, 15\)"):
        started(settings(16, 15, "Mono8"), mode="counting")
    with pytest.raises(ArgumentError, match=r"1 to 65535 rows"):
        frame_number(np.empty((0, 16), np.uint16))


@pytest.mark.parametrize("line", [np.zeros((16, 48), np.float32), np.zeros(48, np.uint16)])
def test_a_line_that_no_counting_camera_made_is_refused(line):
    with pytest.raises(ArgumentError, match="2-D, uint16 or uint8, got"):
        check_frame(line)
