"""A file in memory behaves like any file, but stores only what was written."""

import io

import numpy as np

from openhsi_shared.files.memory_file import MemoryFile


def test_it_reads_as_a_plain_file_does():
    random = np.random.default_rng(0)
    sparse, plain = MemoryFile(), io.BytesIO(bytes(60_000))
    for _ in range(300):
        at, n = int(random.integers(50_000)), int(random.integers(1, 9_000))
        data = random.bytes(n)
        for file in (sparse, plain):
            file.seek(at)
            assert file.write(data) == n
            assert file.tell() == at + n
    sparse.seek(0)
    assert sparse.read(60_000) == plain.getvalue()
    assert sparse.seek(0, io.SEEK_END) == sparse.size


def test_extents_are_what_was_written_and_nothing_else():
    sparse = MemoryFile()
    for at, data in ((10**12, b"far"), (5, b"abc"), (8, b"de"), (4, b"x"), (5000, b"yy")):
        sparse.seek(at)
        sparse.write(data)
    assert list(sparse.extents()) == [(4, b"xabcde"), (5000, b"yy"), (10**12, b"far")]
    sparse.truncate(5001)
    assert list(sparse.extents())[:2] == [(4, b"xabcde"), (5000, b"y")]


def test_of_an_expected_chunk_only_the_place_is_kept():
    sparse = MemoryFile()
    chunk = memoryview(b"a compressed line")
    sparse.expect_chunk(chunk)
    sparse.seek(100)
    sparse.write(b"something of HDF5")  # of the same length, but another one
    sparse.seek(7000)
    sparse.write(chunk)
    assert sparse.chunk_offset() == 7000
    assert list(sparse.extents()) == [(100, b"something of HDF5")]
    assert sparse.size == 7000 + len(chunk)
