"""Damaged cubes of other programs: no checksum finds it, but no structure is made up, and nothing hangs or crashes."""

import pytest

from tests.support.file_corruption import Original, check_foreign, read_all
from tests.support.foreign import openhsi_cube, put, scene


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Cubes as openhsi writes them, and as others pack, compress and extend them."""
    folder = tmp_path_factory.mktemp("foreign")
    packed = {"datacube": {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -1}}
    compressed = {"datacube": {"zlib": True, "chunksizes": (5, 4, 7)}}
    paths = [
        put(openhsi_cube(), folder / "plain.nc"),
        put(openhsi_cube(scene(12, "f4") / 2000), folder / "packed.nc", encoding=packed),
        put(openhsi_cube(), folder / "compressed.nc", encoding=compressed),
        put(openhsi_cube(), folder / "h5netcdf.nc", engine="h5netcdf"),
        put(openhsi_cube(), folder / "unlimited.nc", unlimited_dims=["y"]),
    ]
    return [Original.of(path) for path in paths]


def test_a_damaged_cube_of_others_has_no_made_up_structure(originals):
    verdicts = read_all(originals, range(80), check_foreign)
    assert not verdicts.faults, str(verdicts)
    assert verdicts.counts["found"] > 10


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_many_damaged_cubes_of_others(originals):
    verdicts = read_all(originals, range(80, 5080), check_foreign)
    print(verdicts)  # noqa: T201 - the figures of a campaign, with -s
    assert not verdicts.faults, str(verdicts)
