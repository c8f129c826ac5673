"""The journal of a result: what is noted is read by the next run, and nothing else is."""

import json
import zlib

import numpy as np
import pytest

from openhsi_shared.durable import PartFile
from openhsi_shared.errors import FileError, SaveError
from openhsi_shared.files.journal import Journal, journal_of, unfinished
from openhsi_shared.files.recovering import recover
from openhsi_shared.files.verifying import verify

HASH = "0123456789abcdef" * 2
LAYOUT = {"format": "netcdf", "block_lines": 2, "lines": [3, None]}
ROWS = np.array([(0, 2.5, b"a"), (1, np.nan, b"bc")], [("y", "<i8"), ("peak", "<f4"), ("kind", "S2")])


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cube.nc"


def _open(target, **how):
    return Journal.open(target, **{"ppid_hash": HASH, "layout": LAYOUT, "n_lines": 6, **how})


def _left(target):
    """A run that wrote two blocks, of which one is known, and was killed; gives the temporary name."""
    journal, part = _open(target), PartFile(target.parent, target.name)
    journal.begin(part.path)
    for first in (0, 2):
        journal.note_written(first, np.array([first, 2**32 - 1], np.uint32), [first, 17])
    journal.note_known(0, np.array([0, 1], np.uint8), np.array([2, -2]), ROWS)
    journal.close(keep=True)
    part._is_kept = True
    part.close()
    return part.path


def test_the_next_run_knows_the_blocks_with_both_notes(target):
    part = _left(target)
    journal = _open(target)
    assert (journal.part, list(journal.blocks)) == (part, [0])
    block = journal.blocks[0]
    assert (block.crcs.tolist(), block.extra) == ([0, 2**32 - 1], [0, 17])
    assert (block.line_flag.tolist(), block.line_rows.tolist()) == ([0, 1], [2, -2])
    assert block.rows.dtype == ROWS.dtype
    assert block.rows.tobytes() == ROWS.tobytes()
    journal.begin(part)  # continued
    journal.note_known(2, np.zeros(2, np.uint8), np.zeros(2), None)
    journal.close(keep=True)
    journal = _open(target)
    assert list(journal.blocks) == [0, 2]
    journal.close()
    assert not journal.path.exists()


@pytest.mark.parametrize("torn", [b"12345678 {", b"00000000 {}\n", b"\n", b"\xff\xfe"])
def test_a_line_that_a_dying_process_has_begun_is_dropped(target, torn):
    part = _left(target)
    [path] = target.parent.glob(".*.journal")
    path.write_bytes(path.read_bytes() + torn)
    with_torn = _open(target)
    with_torn.begin(part)
    with_torn.note_known(2, np.zeros(2, np.uint8), np.zeros(2), None)
    with_torn.close(keep=True)
    journal = _open(target)
    assert list(journal.blocks) == [0, 2]
    journal.close()


@pytest.mark.parametrize("how", [{"layout": LAYOUT | {"block_lines": 3}}, {"ppid_hash": HASH[:12] + "0" * 20}])
def test_what_was_written_with_other_settings_is_removed(target, how):
    part = _left(target)
    journal = _open(target, **how)
    assert (journal.part, dict(journal.blocks)) == (None, {})
    assert not part.exists()
    journal.close()


@pytest.mark.parametrize("part_is_named", [True, False])
def test_a_journal_that_is_damaged_is_begun_again(target, caplog, part_is_named):
    part = _left(target)
    [path] = target.parent.glob(".*.journal")
    data = path.read_bytes()
    path.write_bytes(b"!" + data[1:] if part_is_named else data[:50])
    journal = _open(target)
    assert (journal.part, dict(journal.blocks)) == (None, {})
    assert f"{path} is damaged: the result is begun again" in caplog.text
    assert ("reported by `recover`" in caplog.text) is not part_is_named
    assert part.exists() is not part_is_named
    journal.close()


def test_another_temporary_name_begins_again(target, tmp_path):
    _left(target)
    journal = _open(target)
    journal.begin(tmp_path / ".cube.nc.1.part")
    journal.close(keep=True)
    journal = _open(target)
    assert (journal.part, dict(journal.blocks)) == (None, {})  # no such file
    journal.close()


def test_two_runs_do_not_continue_the_same_result(target):
    journal = _open(target)
    with pytest.raises(SaveError, match="another run writes this result now"):
        _open(target)
    other = _open(target, tmp_suffix="second")
    other.close()
    journal.close()
    journal.close()


def test_a_result_whose_journal_would_have_too_long_a_name_has_none(tmp_path):
    target = tmp_path / f"{'a' * 240}.nc"
    Journal.discard(target, HASH)
    assert Journal.layout_of(target, HASH) is None
    with pytest.raises(SaveError, match="name too long"):
        _open(target)


def test_a_journal_says_what_can_be_finished(target):
    part = _left(target)
    journal = journal_of(part)
    found = unfinished(journal)
    assert (found.part, found.target, found.n_lines, found.n_finished) == (part, target, 6, 2)
    assert "2 of 6 lines of cube.nc are written; run the same job with resume=True" in str(found)
    assert journal_of(target.with_name(".other.nc.1.part")) is None


def test_recover_and_verify_know_a_result_that_can_be_finished(target, tmp_path):
    part = _left(target)
    (journal,) = tmp_path.glob(".*.journal")
    (tmp_path / "cube.raw").touch()
    (tmp_path / "cube.hdr").touch()  # in the format of ENVI: no dump
    found = recover(tmp_path)
    assert found.ok
    assert str(found) == "1 resumable"
    assert "2 of 6 lines of cube.nc are written" in found.resumable[journal]
    assert part.exists()
    for path in (part, journal):
        (problem,) = verify(path).problems
        assert "resume=True" in problem
    running = _open(target)
    running.begin(part)
    found = recover(tmp_path)
    assert (found.live, found.resumable) == ((journal,), {})
    running.close()


@pytest.mark.parametrize("header", [None, {"format": "other"}, {"format": "openhsi_shared journal 1"}])
def test_what_is_no_journal_is_refused(target, header):
    text = json.dumps(header).encode()
    path = target.with_name(f".cube.nc.{HASH[:12]}.journal")
    path.write_bytes(b"" if header is None else b"%08x %s\n" % (zlib.crc32(text), text))
    with pytest.raises(FileError, match="is not a journal"):
        unfinished(path)
