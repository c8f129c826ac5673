"""Pictures wait for cubes, and few of them do."""

from pathlib import Path

import numpy as np

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.files.saving import Written
from openhsi_shared.writer.directories import PLACE, SLOT
from openhsi_shared.writer.late_previews import MAX_WAITING, LatePreviews
from tests.support.flow import COUNTING
from tests.support.process_faults import frozen, newest_writer


def test_cubes_that_wait_are_saved_before_the_pictures_of_those_before(tmp_path):
    with SharedSimulatedCamera(**COUNTING, n_lines=8, n_buffers=4) as cam:
        cam.collect()
        first = cam.save(tmp_path).result(60)
        with frozen(newest_writer()):
            handles = []
            for _ in range(3):
                cam.collect()
                handles.append(cam.save(tmp_path))
        results = [handle.result(60) for handle in handles]
    saved = [result.path.stat().st_mtime_ns for result in results]
    pictured = [result.preview_path.stat().st_mtime_ns for result in results]
    assert first.preview_path.exists()
    assert sorted(saved) + sorted(pictured) == saved + pictured == sorted(saved + pictured)


def test_few_pictures_wait_and_each_has_the_note_of_its_cube(tmp_path):
    note, told = [0, 0, 0], []
    previews = LatePreviews(note, lambda done: told.append((done.cube, done.path, note[SLOT], note[PLACE])))
    for cube in range(MAX_WAITING + 2):
        note[SLOT], note[PLACE] = cube % 2, 1
        means = np.linspace(0, 1, 60, dtype=np.float32).reshape(4, 5, 3)
        previews.add(cube, Written(tmp_path / f"{cube}.nc", 1, 0.1, np.zeros(4, np.uint32), means))
    assert [cube for cube, *_ in told] == [0, 1]
    previews.write_all()
    assert told == [(cube, Path(tmp_path / f"{cube}.png"), cube % 2, 1) for cube in range(MAX_WAITING + 2)]
    assert all(path.exists() for _, path, _, _ in told)
    assert (note[PLACE], previews.write_next()) == (0, False)
