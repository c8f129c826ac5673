"""ENVI and Zarr of jobs have what the NetCDF of a job has, in whatever order and by which processes blocks are put."""

import csv
import shutil
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, SaveError
from openhsi_shared.files.journal import Journal
from openhsi_shared.jobs.outputs import Done, LineFlag, attributes_of, open_output, problems_of
from openhsi_shared.processes.spawning import SPAWN
from tests.support.job_plans import crcs_of, plan_of, put_all, put_chunk, result_lines, source_file

ROWS = np.array([(1, 2.5, 3), (5, 0.5, 4)], [("y", "i8"), ("score", "f4"), ("x0", "i4")])
ENDINGS = {"envi": ".raw", "zarr": ".zarr"}
ABOUT = {"pipeline_id": "a|b=1{c}", "pipeline_hash": "0", "pipeline_job": '{"lines": [1, null]}'}


def planned(folder, to, n_lines=9, **job):
    path = source_file(folder, n_lines)
    return plan_of(path, folder / f"out{ENDINGS[to]}", job={"output": to, **job})


def pixels_of(plan):
    if plan.job.output == "zarr":
        import xarray as xr

        with xr.open_dataset(plan.target, engine="zarr", chunks=None) as dataset:
            return dataset["datacube"].values
    from spectral.io import envi

    return np.asarray(envi.open(plan.target.with_suffix(".hdr"), plan.target).open_memmap(interleave="bip"))


def test_side_files_of_a_run_that_was_killed_are_removed(tmp_path):
    plan = planned(tmp_path, "envi")
    left = [tmp_path / f".out{end}.4000000.part" for end in ("_lines.csv", "_groups.nc4", ".hdr")]
    other = tmp_path / ".out~other.hdr.4000000.part"
    for path in (*left, other):
        path.write_text("half")
    with open_output(plan) as output:
        put_all(output, plan, result_lines(plan))
        output.finish(Done(line_flag=np.zeros(9, np.uint8), attributes=ABOUT))
    assert [path for path in (*left, other) if path.exists()] == [other]


def flags_of(plan):
    if plan.job.output == "zarr":
        import xarray as xr

        with xr.open_dataset(plan.target, engine="zarr", chunks=None) as dataset:
            assert dataset["line_flag"].attrs["flag_meanings"].split()[:2] == ["good", "failed"]
            return dataset["line_flag"].values.tolist()
    with plan.target.with_name(f"{plan.target.stem}_lines.csv").open(newline="") as file:
        return [int(row["line_flag"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("to", "job"),
    [("envi", {}), ("zarr", {}), ("zarr", {"compression": "zstd-3"}), ("zarr", {"compression": "deflate-1"})],
)
def test_blocks_in_any_order_become_the_whole_result(tmp_path, to, job):
    plan = planned(tmp_path, to, **job)
    lines = result_lines(plan)
    lines[2] = np.nan
    flags = np.zeros(9, np.uint8)
    flags[2] = LineFlag.FAILED
    with open_output(plan) as output:
        assert not output.is_ordered
        put_all(output, plan, lines, reversed(range(len(plan.blocks))))
        published = output.finish(Done(line_flag=flags, rows=ROWS, attributes=ABOUT))
    assert published.path == plan.target
    np.testing.assert_array_equal(pixels_of(plan), lines)
    assert flags_of(plan) == flags.tolist()
    attributes = attributes_of(plan.target)
    assert {name: attributes[name] for name in ABOUT} == ABOUT
    assert attributes["source_uuid"] == plan.source.uuid
    assert problems_of(plan.target) == ()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("to", ["envi", "zarr"])
def test_a_table_is_stored_with_the_result(tmp_path, to):
    import xarray as xr

    plan = planned(tmp_path, to)
    with open_output(plan) as output:
        put_all(output, plan, result_lines(plan))
        output.finish(Done(line_flag=np.zeros(9, np.uint8), rows=ROWS))
    path, engine = (plan.target, "zarr") if to == "zarr" else (tmp_path / "out_groups.nc4", "netcdf4")
    with xr.open_dataset(path, group="detections", engine=engine) as table:
        assert table["y"].values.tolist() == [1, 5]
        np.testing.assert_array_equal(table["score"].values, ROWS["score"])


@pytest.mark.parametrize("to", ["envi", "zarr"])
def test_rounded_lines_have_the_checksums_of_what_is_stored(tmp_path, to):
    plan = planned(tmp_path, to, significant_bits=8)
    lines = result_lines(plan)
    with open_output(plan) as output:
        put_all(output, plan, lines.copy())
        output.finish(Done(line_flag=np.zeros(9, np.uint8)))
    found = pixels_of(plan)
    assert not np.array_equal(found, lines)
    np.testing.assert_allclose(found, lines, rtol=2**-9)
    assert problems_of(plan.target) == ()


@pytest.mark.parametrize("to", ["envi", "zarr"])
def test_what_is_not_finished_leaves_nothing(tmp_path, to):
    plan = planned(tmp_path, to)
    before = sorted(tmp_path.rglob("*"))
    with open_output(plan) as output:
        output.put(0, result_lines(plan)[:4], np.zeros(4, np.uint32))
        assert output.temporary_path.exists()
        with pytest.raises(ArgumentError, match="5 lines were never put, from 4 on"):
            output.finish(Done(line_flag=np.zeros(9, np.uint8)))
    assert sorted(tmp_path.rglob("*")) == before


def test_blocks_of_zarr_are_whole_chunks(tmp_path):
    plan = planned(tmp_path, "zarr")
    lines = result_lines(plan)
    with open_output(plan) as output, pytest.raises(SaveError, match="are not whole chunks of 4 lines"):
        output.put(2, lines[2:6], crcs_of(lines[2:6]))


def test_a_chunk_that_is_wrong_by_its_checksum_is_not_published(tmp_path):
    plan = planned(tmp_path, "zarr")
    lines = result_lines(plan)
    with open_output(plan) as output:
        put_all(output, plan, lines)
        output.chunks.put(0, lines[4:8])
        with pytest.raises(SaveError, match="xarray does not read line 0"):
            output.finish(Done(line_flag=np.zeros(9, np.uint8)))
    assert not plan.target.exists()


def test_other_processes_write_chunks_of_zarr(tmp_path):
    plan = planned(tmp_path, "zarr", 23)
    lines = np.ascontiguousarray(result_lines(plan))
    with open_output(plan) as output, ProcessPoolExecutor(2, SPAWN) as pool:
        blocks = [(block[0], lines[block[0] : block[-1] + 1]) for block in plan.blocks]
        for future in [pool.submit(put_chunk, output.chunks, *block) for block in blocks]:
            output.note(*future.result())
        output.finish(Done(line_flag=np.zeros(23, np.uint8)))
    np.testing.assert_array_equal(pixels_of(plan), lines)


def test_gdal_reads_the_envi_file_of_a_job(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    plan = planned(tmp_path, "envi")
    lines = result_lines(plan)
    with open_output(plan) as output:
        put_all(output, plan, lines)
        output.finish(Done(line_flag=np.zeros(9, np.uint8)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(plan.target) as image:
            np.testing.assert_array_equal(np.moveaxis(image.read(), 0, -1), lines)


def test_a_chunk_that_is_lost_is_not_taken_for_one_of_zeros(tmp_path):
    plan = planned(tmp_path, "zarr", 8)
    lines = np.zeros_like(result_lines(plan))
    journal = Journal.open(plan.target, plan.ppid_hash, {})
    output = open_output(plan, resume=True, journal=journal)
    put_all(output, plan, lines)
    for first in (0, 4):
        journal.note_known(first, np.zeros(4, np.uint8), np.zeros(4, np.int64), None)
    chunks = output.temporary_path / "datacube"
    output.close(keep=True)
    journal.close(keep=True)
    assert {path.name for path in chunks.glob("?.0.0")} == {"0.0.0", "1.0.0"}
    (chunks / "1.0.0").unlink()
    journal = Journal.open(plan.target, plan.ppid_hash, {})
    with open_output(plan, resume=True, journal=journal) as output:
        assert output.finished_blocks() == {0}
        put_all(output, plan, lines, [1])
        output.finish(Done(line_flag=np.zeros(8, np.uint8)))
    journal.close()
    assert (plan.target / "datacube" / "1.0.0").exists()
    np.testing.assert_array_equal(pixels_of(plan), lines)


@pytest.mark.parametrize("to", ["envi", "zarr"])
def test_a_run_goes_on_where_an_earlier_one_was_interrupted(tmp_path, to):
    plan = planned(tmp_path, to, 20)
    lines = result_lines(plan)
    journal = Journal.open(plan.target, plan.ppid_hash, {})
    output = open_output(plan, resume=True, journal=journal)
    put_all(output, plan, lines, [2, 0, 3])
    for first in (8, 0, 12):
        journal.note_known(first, np.zeros(4, np.uint8), np.zeros(4, np.int64), None)
    part = output.temporary_path
    output.close(keep=True)
    journal.close(keep=True)
    if to == "zarr":  # it was killed after it had begun to write all else
        shutil.copytree(part / "datacube", part / "line_flag")
        (part / ".zmetadata").write_text("{")
    chunk = part if to == "envi" else part / "datacube" / "3.0.0"
    with chunk.open("r+b") as file:  # line 13 did not reach the disk
        file.seek((13 if to == "envi" else 1) * lines[0].nbytes)
        file.write(bytes(20))
    journal = Journal.open(plan.target, plan.ppid_hash, {})
    with open_output(plan, resume=True, journal=journal) as output:
        assert output.temporary_path == part
        assert output.finished_blocks() == {8, 0}
        put_all(output, plan, lines, [3, 4, 1])
        output.finish(Done(line_flag=np.zeros(20, np.uint8)))
    journal.close()
    np.testing.assert_array_equal(pixels_of(plan), lines)
    assert problems_of(plan.target) == ()
    assert not list(tmp_path.glob(".*"))
