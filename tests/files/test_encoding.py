"""Shuffle and compression give the same bytes as HDF5."""

import h5py
import numpy as np
import pytest

from openhsi_shared.files.encoding import decompress, shuffled, unshuffled
from openhsi_shared.files.image import Layout
from tests.support.cubes import chunk_of


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4", "f8"])
def test_the_shuffle_is_hdf5s_and_is_undone(tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 250, 120).astype(dtype)
    values.view(np.uint8)[:] = np.random.default_rng(1).integers(0, 256, values.nbytes)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        variable = file.create_dataset("a", data=values, chunks=(120,), shuffle=True)
        _, expected = variable.id.read_direct_chunk((0,))
    out = np.empty(values.nbytes, np.uint8)
    shuffled(values, out)
    assert out.tobytes() == expected
    assert unshuffled(expected, values.dtype).tobytes() == values.tobytes()


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_a_stream_that_is_not_what_was_written_is_refused(compression):
    line = np.arange(60, dtype="u2").reshape(6, 10)
    data = chunk_of(line, Layout(1, (6, 10), line.dtype, True, compression))
    assert decompress(data, compression, 120) == encoder_bytes(line)
    for bad, n_bytes in ((b"no stream at all", 120), (data[:-9], 120), (data, 119), (data, 121), (b"", 120)):
        with pytest.raises(ValueError, match=r"stream|decompresses"):
            decompress(bad, compression, n_bytes)


def encoder_bytes(line):
    out = np.empty(line.nbytes, np.uint8)
    shuffled(line, out)
    return out.tobytes()
