"""Options of saving: what there is not is refused when they are made, by one error that names option and value."""

import pickle
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import openhsi_shared
from openhsi_shared import SharedDataCube, SharedSimulatedCamera
from openhsi_shared.cli.record import record
from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.encoding import decompress
from openhsi_shared.files.image import Layout
from openhsi_shared.save_options import COMPRESSION_LEVELS, Compression, SaveOptions, WhenFull
from tests.support.cubes import chunk_of

BAD = [
    ({"when_full": "overwrite"}, "when_full must be one of ('block', 'drop', 'stop'), got 'overwrite'"),
    ({"when_full": None}, "when_full must be one of ('block', 'drop', 'stop'), got None"),
    ({"compression": "gzip"}, "compression must be one of (None, 'deflate', 'zstd'), got 'gzip'"),
    ({"compression": ["zstd"]}, "compression must be one of (None, 'deflate', 'zstd'), got ['zstd']"),
    ({"compression": "deflate", "compression_level": 4}, "compression_level of 'deflate' must be from 0 to 3, got 4"),
    ({"compression": "deflate", "compression_level": -1}, "compression_level of 'deflate' must be from 0 to 3, got -1"),
    ({"compression": "deflate", "compression_level": 2.0}, "must be from 0 to 3, got 2.0"),
    ({"compression": "zstd", "compression_level": 40}, "compression_level of 'zstd' must be from -7 to 22, got 40"),
    ({"compression": "zstd", "compression_level": "3"}, "compression_level of 'zstd' must be from -7 to 22, got '3'"),
    ({"durability": "maybe"}, "durability must be one of ('fsync', 'rename'), got 'maybe'"),
    ({"writers": 0}, "writers must be one of (1, 2), got 0"),
    ({"writers": 3}, "writers must be one of (1, 2), got 3"),
    ({"writers": 1.0}, "writers must be one of (1, 2), got 1.0"),
    ({"fallback_dirs": "somewhere"}, "fallback_dirs must be a sequence of directories, got 'somewhere'"),
    ({"fallback_dirs": Path("there")}, "fallback_dirs must be a sequence of directories, got "),
    ({"fallback_dirs": [""]}, "fallback_dirs must be a sequence of directories, got ['']"),
    ({"fallback_dirs": [5]}, "fallback_dirs must be a sequence of directories, got [5]"),
    ({"writer_patience_s": 0}, "writer_patience_s must be a number of seconds > 0, or None, got 0"),
    ({"writer_patience_s": -1}, "writer_patience_s must be a number of seconds > 0, or None, got -1"),
    ({"writer_patience_s": True}, "writer_patience_s must be a number of seconds > 0, or None, got True"),
    ({"writer_patience_s": float("nan")}, "writer_patience_s must be a number of seconds > 0, or None, got nan"),
    ({"writer_patience_s": "1"}, "writer_patience_s must be a number of seconds > 0, or None, got '1'"),
]


@pytest.mark.parametrize(("options", "words"), BAD)
def test_what_there_is_not_is_refused(options, words):
    with pytest.raises(ArgumentError, match=re.escape(words)):
        SaveOptions(**options)


@pytest.mark.parametrize("options", [{"writers": 3}, {"writer_patience_s": -1}, {"fallback_dirs": [""]}])
def test_a_camera_says_the_same(options):
    with pytest.raises(ArgumentError) as said:
        SaveOptions(**options)
    with pytest.raises(ArgumentError, match=re.escape(str(said.value))):
        SharedDataCube(2, resolution=(4, 8), **options)


def test_directories_are_absolute_once_the_options_are_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = SaveOptions(fallback_dirs=["spare", Path("/mnt")])
    assert options.fallback_dirs == (str(tmp_path / "spare"), "/mnt")
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize("compression", get_args(Compression))
def test_every_level_of_compression_that_is_allowed_exists(compression):
    line = np.arange(60, dtype=np.uint16).reshape(5, 12)
    for level in COMPRESSION_LEVELS[compression]:
        SaveOptions(compression=compression, compression_level=level)
        chunk = chunk_of(line, Layout(1, (5, 12), line.dtype, True, compression, level))
        assert len(decompress(chunk, compression, line.nbytes)) == line.nbytes


def test_a_level_that_does_not_exist_is_refused_before_the_camera_is_opened(tmp_path):
    expected = "compression_level of 'deflate' must be from 0 to 3, got 9"
    keywords = {"compression": "deflate", "compression_level": 9, "img_path": tmp_path / "missing.png"}
    with pytest.raises(ArgumentError, match=expected):
        SharedSimulatedCamera(4, **keywords)
    with pytest.raises(ArgumentError, match=expected):
        openhsi_shared.record(SharedSimulatedCamera, tmp_path / "new", n_lines=4, **keywords)
    assert not list(tmp_path.glob("**/*.nc"))


def test_the_command_line_offers_what_there_is():
    choices = {option.name: tuple(option.type.choices) for option in record.params if hasattr(option.type, "choices")}
    assert choices["when_full"] == get_args(WhenFull)
    assert choices["compression"] == ("none", *get_args(Compression))
