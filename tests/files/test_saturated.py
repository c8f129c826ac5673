"""The share of saturated pixels of each line, in files and in what is made of them."""

from dataclasses import replace

import numpy as np
import pytest

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.columns import COLUMNS, SATURATED, Column, Saturation
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.carrying import carried_from
from openhsi_shared.files.dumping import read_dump, write_dump
from openhsi_shared.files.saving import Written
from openhsi_shared.groups import Group
from openhsi_shared.save_options import SaveOptions
from tests.files.test_dumping import rewrite
from tests.jobs.outputs.test_netcdf import write
from tests.support.cubes import make_cube
from tests.support.job_plans import BinLines, plan_of, result_lines, source_file

COUNTED = Saturation(60_000, 1, 4)


def save(folder, cube, old_style=True, **options):
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype, SaveOptions(**options)) as writer:
        return writer.write(cube, [folder], picture=False, old_style=old_style)


def expected(cube):
    counted = slice(cube.saturation.first_row, cube.saturation.end_row)
    shares = [(line[counted] >= cube.saturation.full_scale).mean() for line in cube.lines()]
    assert len(set(shares)) > 1
    return np.array(shares, np.float32)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ({}, {}),
        ({"n_stored": 9, "first": 5, "x": 200, "bands": 200}, {}),
        ({"n_stored": 9, "first": 5}, {"compression": "deflate"}),
        ({"dtype": np.uint8, "saturation": Saturation(200, 0, 5)}, {"old_style": False}),
    ],
)
def test_a_file_has_the_share_of_each_line_and_verify_covers_it(kind, how, tmp_path):
    cube = make_cube(**{"saturation": COUNTED, **kind})
    written = save(tmp_path, cube, **how)
    with open_cube(written.path) as saved:
        assert saved.saturated.dtype == np.float32
        np.testing.assert_array_equal(saved.saturated, expected(cube))
        assert saved.dataset.saturated.attrs["full_scale"] == cube.saturation.full_scale
    for mean in (written.saturated, Written.found(written.path).saturated):
        assert mean == pytest.approx(expected(cube).mean())
    report = verify(written.path)
    assert report.ok
    assert "saturated" in report.covers
    assert report.added == ()
    content = bytearray(written.path.read_bytes())
    at = content.index(expected(cube).tobytes())
    content[at + 2] ^= 1
    written.path.write_bytes(content)
    assert "the variable saturated is damaged" in str(verify(written.path).problems)


def test_without_full_scale_there_is_no_share(tmp_path):
    with open_cube(save(tmp_path, make_cube()).path) as saved:
        assert saved.saturated is None
    with pytest.raises(ArgumentError, match="group 'saturated' has the name of a variable"):
        make_cube(saturation=COUNTED, groups={"saturated": Group()})


def test_a_cube_that_was_dumped_has_its_shares_when_it_is_recovered(tmp_path):
    cube = make_cube(saturation=COUNTED)
    sidecar = write_dump(cube, [tmp_path])
    text, _, _ = sidecar.read_bytes().partition(b"\n")
    rewrite(sidecar, text.replace(b"[60000, 1, 4]", b"[60000, 1, 9]"))
    with pytest.raises(FileError, match=r"saturation is .*, expected full scale and rows of a line"):
        read_dump(sidecar)
    rewrite(sidecar, text)
    (path,) = recover(tmp_path).published
    with open_cube(path) as saved:
        np.testing.assert_array_equal(saved.saturated, expected(cube))


def test_a_column_of_that_name_that_means_something_else_is_no_share_and_is_left_out(tmp_path, caplog):
    shares = {"saturated": np.arange(6, dtype=np.float32)}
    given = make_cube(columns=shares, column_descriptions=(*COLUMNS, Column("saturated", "float32", "", "wet soil")))
    path = save(tmp_path, given).path
    with open_cube(path) as saved:
        assert saved.saturated is None
        assert saved.column("saturated").tolist() == list(range(6))
    assert carried_from(path, 6, (5, 7)).left_out == ("saturated",)
    assert "it has the name of a variable of this library, but is 'wet soil'" in caplog.text


def test_a_cube_made_of_another_one_has_the_shares_of_its_frames_or_counts_its_own(tmp_path):
    cube = make_cube(saturation=COUNTED)
    source = save(tmp_path, cube).path
    carried = carried_from(source, 6, (5, 3))
    assert carried.left_out == ()
    more = {"columns": carried.columns, "column_descriptions": (*COLUMNS, *carried.descriptions)}
    made = make_cube(bands=3, dtype=np.float32, **more)
    with open_cube(save(tmp_path, made).path) as saved:
        np.testing.assert_array_equal(saved.saturated, expected(cube))
        assert saved.dataset.saturated.attrs["full_scale"] == 60_000
    again = replace(made, uuid="again", memory=made.memory.astype(np.uint16), saturation=Saturation(21_000, 0, 5))
    with open_cube(save(tmp_path, again).path) as saved:
        np.testing.assert_array_equal(saved.saturated, expected(again))


def test_a_job_keeps_shares_of_its_lines_and_the_mean_of_those_that_it_bins(tmp_path):
    shares = np.linspace(0, 1, 12).astype(np.float32)
    path = source_file(tmp_path, 12, columns={"saturated": shares}, column_descriptions=(*COLUMNS, SATURATED))
    some = plan_of(path, tmp_path / "some.nc", lines=range(3, 9))
    write(some, result_lines(some))
    binned = plan_of(path, tmp_path / "binned.nc", lines=range(1, 11), stages=[BinLines()])
    write(binned, result_lines(binned))
    with open_cube(some.target) as of_some, open_cube(binned.target) as of_bins:
        np.testing.assert_array_equal(of_some.saturated, shares[3:9])
        means = [shares[part].mean() for part in (slice(1, 5), slice(5, 9), slice(9, 11))]
        np.testing.assert_allclose(of_bins.saturated, means, rtol=1e-6)
    assert verify(binned.target).ok
