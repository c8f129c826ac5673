"""A request to save: validated at construction, and unchanged in the label of the slot and in the file."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera, open_cube, record
from openhsi_shared.errors import ArgumentError
from openhsi_shared.writer.messages import Label
from openhsi_shared.writer.save_request import SaveRequest

BAD = [
    ({"save_dir": ""}, "save_dir must be a directory, got ''"),
    ({"save_dir": None}, "save_dir must be a directory, got None"),
    ({"save_dir": b"out"}, "save_dir must be a directory, got b'out'"),
    ({"prefix": None}, "prefix must be text, or '' for none, got None"),
    ({"prefix": "a/b"}, "prefix 'a/b' cannot be part of a file's name"),
    ({"prefix": ".hidden"}, "prefix '.hidden' would hide the file"),
    ({"suffix": 5}, "suffix must be text, or '' for none, got 5"),
    ({"suffix": "a\nb"}, r"suffix 'a\nb' cannot be part of a file's name"),
    ({"suffix": "\ud800"}, r"suffix '\ud800' cannot be part of a file's name"),
    ({"prefix": "x" * 150, "suffix": "y" * 51}, "prefix and suffix have 201 bytes"),
]
SAVED_HOW = {"prefix": "pass_", "suffix": "_ä", "old_style": False, "savefig": False}


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_what_cannot_be_used_is_refused(arguments, words):
    with pytest.raises(ArgumentError, match=re.escape(words)):
        SaveRequest(**{"save_dir": "out", **arguments})


def test_save_says_the_same_and_keeps_the_cube(tmp_path):
    with SharedDataCube(2, resolution=(4, 8)) as cube:
        cube.put(np.ones((4, 8), np.uint16))
        for arguments, words in BAD:
            with pytest.raises(ArgumentError, match=re.escape(words)):
                cube.save(**{"save_dir": tmp_path, **arguments})
        with pytest.raises(TypeError, match="prefx"):
            cube.save(tmp_path, prefx="a")
        assert cube.n_collected == 1
        assert open_cube(cube.save(tmp_path).result().path).lines.shape == (1, 4, 8)


def test_it_cannot_be_changed_and_is_complete():
    request = SaveRequest("out", old_style=0, savefig=1)
    assert (request.old_style, request.savefig) == (False, True)
    assert request.save_dir == str(Path("out").absolute())
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.prefix = "other"


def _is_in_its_file(path, directory):
    assert path.parent.parent == directory
    assert path.name.startswith("pass_")
    assert path.stem.endswith("_ä")
    assert not path.with_suffix(".png").exists()
    with open_cube(path) as cube:
        assert cube.dataset["datacube"].dims == ("wavelength", "x", "y")
        assert cube.attributes["pilot"] == "Ada"


def test_it_travels_unchanged_from_save_to_the_label_of_the_slot_and_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("meta.json").write_text(json.dumps({"pilot": "Ada"}), encoding="utf-8")
    with SharedDataCube(2, resolution=(4, 8)) as cube:
        cube.put(np.ones((4, 8), np.uint16))
        slot = cube._engine.filler.slot
        saving = cube.save("out", "meta.json", **SAVED_HOW)
        label = Label.from_bytes(cube._engine.slots.label(slot))
        _is_in_its_file(saving.result().path, tmp_path / "out")
    told = {name: getattr(label, name) for name in SAVED_HOW}
    assert told == SAVED_HOW
    assert (label.directory, label.metadata) == (str(tmp_path / "out"), {"pilot": "Ada"})


def test_it_travels_through_a_recording_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("meta.json").write_text(json.dumps({"pilot": "Ada"}), encoding="utf-8")
    options = {"mode": "counting", "resolution": (4, 8), "rate": None, "when_full": "block", "progress": False}
    with record(
        SharedSimulatedCamera, "out", n_lines=3, n_cubes=2, preconfig_meta_path="meta.json", **SAVED_HOW, **options
    ) as run:
        paths = run.wait().paths
    assert len(paths) == 2
    for path in paths:
        _is_in_its_file(path, tmp_path / "out")
