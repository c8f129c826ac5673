"""Streams with stored planes: every reader gets the same pixels, whatever the data are like."""

import zlib

import h5py
import netCDF4
import numpy as np
import pytest

from openhsi_shared.files.deflate import MAX_STORED, TRIAL_EVERY, PlaneDeflate, max_stream_bytes
from openhsi_shared.files.encoding import shuffled

SHAPE = (90, 800)  # a plane of it is more than one stored block
RANDOM = np.random.default_rng(3)
NOISE = RANDOM.integers(0, 1 << 16, SHAPE, np.uint16)
KINDS = {
    "dark frames": RANDOM.poisson(40, SHAPE).astype(np.uint16),
    "a flat field": np.full(SHAPE, 3000, np.uint16),
    "12 bit in 16, with shot noise": RANDOM.poisson(2500, SHAPE).astype(np.uint16),
    "12 bit, in the upper bits of 16": RANDOM.poisson(2500, SHAPE).astype(np.uint16) << 4,
    "noise in both bytes": NOISE,
    "8 bit": NOISE.astype(np.uint8),
    "radiance": RANDOM.poisson(2500, SHAPE).astype(np.float32) * np.float32(0.013),
    "float64": RANDOM.normal(size=SHAPE),
    "signed 32 bit": RANDOM.integers(-9, 9, SHAPE, np.int32),
    "a plane that is exactly one stored block": NOISE.reshape(-1)[:MAX_STORED].reshape(1, -1),
    "one pixel": NOISE[:1, :1],
}


def stream_of(line: np.ndarray, deflate: PlaneDeflate | None = None) -> bytes:
    deflate = deflate or PlaneDeflate(line.dtype, line.size, 1)
    out = np.empty(max_stream_bytes(line.size, line.itemsize), np.uint8)
    return out[: deflate.compress(line, out)].tobytes()


def planes_of(line: np.ndarray) -> bytes:
    out = np.empty(line.nbytes, np.uint8)
    shuffled(line, out)
    return out.tobytes()


@pytest.mark.parametrize("line", KINDS.values(), ids=KINDS.keys())
def test_zlib_reads_the_stream_of_every_kind_of_data_to_its_end(line):
    reader = zlib.decompressobj()
    assert reader.decompress(stream_of(line)) == planes_of(line)
    assert (reader.eof, reader.unused_data) == (True, b"")


@pytest.mark.parametrize("line", KINDS.values(), ids=KINDS.keys())
def test_hdf5_reads_it_with_its_own_filters(tmp_path, line):
    path = tmp_path / "a.nc"
    with h5py.File(path, "w") as file:
        variable = file.create_dataset("a", line.shape, line.dtype, chunks=line.shape, shuffle=True, compression="gzip")
        variable.id.write_direct_chunk((0, 0), stream_of(line))
    with netCDF4.Dataset(path) as file:
        assert file["a"][:].tobytes() == line.tobytes()


@pytest.mark.parametrize("kind", ["dark frames", "12 bit in 16, with shot noise", "radiance", "8 bit"])
def test_it_is_at_most_a_twentieth_larger_than_with_every_plane_compressed(kind):
    line = KINDS[kind]
    assert len(stream_of(line)) < 1.05 * len(zlib.compress(planes_of(line), 1))


def test_a_plane_that_does_not_shrink_is_stored():
    stream = stream_of(NOISE)
    assert NOISE.reshape(-1)[:1000].astype(np.uint8).tobytes() in stream


def test_a_scene_that_changes_is_noticed():
    deflate = PlaneDeflate(NOISE.dtype, NOISE.size, 1)
    lines = [NOISE] * 3 + [np.zeros_like(NOISE)] * (2 * TRIAL_EVERY) + [NOISE]
    sizes = []
    for line in lines:
        stream = stream_of(line, deflate)
        assert zlib.decompress(stream) == planes_of(line)
        sizes.append(len(stream))
    assert min(sizes[:3]) > NOISE.nbytes
    assert max(sizes[TRIAL_EVERY:-1]) < 2000
    assert sizes[-1] > NOISE.nbytes
