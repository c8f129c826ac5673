"""One attribute is changed by a few bytes, and everything else stays."""

import os

import numpy as np
import pytest

from openhsi_shared import open_cube, verify
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import SaveError
from openhsi_shared.files.attribute_patch import patch_attribute
from openhsi_shared.files.writing import CubeWriter
from tests.support.cubes import make_cube


def _leftover(directory, shape=(5, 7), **options):
    with CubeWriter(6, shape, np.uint16) as writer:
        path = writer.write(make_cube(6, *shape, attributes={"recovered": 0}, **options), [directory]).path
    return path.rename(path.with_name(f".{path.name}.1.part"))


@pytest.mark.parametrize("shape", [(5, 7), (64, 512)])
@pytest.mark.parametrize("metadata", [{}, {f"word{n}": "x" * 50 for n in range(60)}, {"long": "x" * 300_000}])
def test_only_a_few_bytes_change(tmp_path, shape, metadata):
    path = _leftover(tmp_path, shape, metadata=metadata)
    before = np.frombuffer(path.read_bytes(), np.uint8)
    part = PartFile.adopt(path)
    with part:
        patch_attribute(part, "recovered", 1)
    after = np.frombuffer(path.read_bytes(), np.uint8)
    assert 1 <= np.count_nonzero(before != after) <= 12, "the number, and HDF5's checksum"
    assert verify(path).ok
    with open_cube(path) as cube:
        assert cube.attributes["recovered"] == 1
        assert np.array_equal(cube.lines[:], make_cube(6, *shape).memory)


def test_what_is_no_such_file_stays_as_it_is(tmp_path):
    text = tmp_path / ".text.nc.1.part"
    text.write_bytes(b"no file of HDF5")
    part = PartFile.adopt(text)
    with part, pytest.raises(OSError, match="signature"):
        patch_attribute(part, "recovered", 1)
    assert text.read_bytes() == b"no file of HDF5"


@pytest.mark.parametrize("metadata", [{}, {f"word{n}": "x" * 50 for n in range(600)}])
def test_a_file_without_the_attribute_gets_it(tmp_path, metadata):
    path = _leftover(tmp_path, metadata=metadata)
    part = PartFile.adopt(path)
    with part:
        patch_attribute(part, "by_hand", 1)
    assert verify(path).ok
    with open_cube(path) as cube:
        assert (cube.attributes["by_hand"], cube.attributes["recovered"]) == (1, 0)
        assert np.array_equal(cube.lines[:], make_cube(6, 5, 7).memory)


def test_a_disk_that_takes_nothing_is_told_by_its_errno(tmp_path):
    path = _leftover(tmp_path)
    before = path.read_bytes()
    part = PartFile.adopt(path)
    with part:
        read_only = os.open(path, os.O_RDONLY)
        os.dup2(read_only, part._fd)
        os.close(read_only)
        with pytest.raises(SaveError, match="Bad file descriptor"):
            patch_attribute(part, "recovered", 1)
    assert path.read_bytes() == before
