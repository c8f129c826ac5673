"""Stages are found by their codes, and what is wrong with a text is said at once."""

import dataclasses
from importlib import metadata

import pytest

from openhsi_shared.errors import ArgumentError, JobError
from openhsi_shared.jobs.stages import registry
from openhsi_shared.jobs.stages.level import Level
from openhsi_shared.jobs.stages.registry import all_stages, stage_codes, stage_from_text, stage_named
from openhsi_shared.jobs.stages.stage import Stage


@dataclasses.dataclass
class Mine(Stage):
    """A stage of another package."""

    width: int
    how: str = "mean"
    rows: slice | None = None
    bands: tuple[int, ...] | slice | None = None
    factor: float = 1.0
    path: str | None = None

    code = "mine"

    def __post_init__(self):
        if self.width < 0:
            raise ArgumentError(f"width must be >= 0, got {self.width}")


@pytest.fixture
def plugged(monkeypatch):
    """Entry points of another package."""

    def plug(**points):
        found = [metadata.EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in points.items()]
        monkeypatch.setattr(registry.metadata, "entry_points", lambda group: found)

    plug(mine=f"{__name__}:Mine")
    return plug


def test_every_built_in_stage_can_be_made_from_a_text():
    for code, stage in all_stages().items():
        assert stage.code == code
        assert stage.__doc__
        assert issubclass(stage, Stage)
    assert set(registry.STAGES) <= set(stage_codes())
    assert stage_from_text("level:level=4,compat=openhsi") == Level(4, "openhsi")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("width=2", {}),
        (" width = 2 , how = sum ", {"how": "sum"}),
        ("width=2,rows=3-17", {"rows": slice(3, 17)}),
        ("width=2,rows=-17", {"rows": slice(None, 17)}),
        ("width=2,rows=-17-", {"rows": slice(-17, None)}),
        ("width=2,rows=-17--3,factor=-2", {"rows": slice(-17, -3), "factor": -2}),
        ("width=2,rows=none,bands=1,5,7,factor=2.5", {"bands": (1, 5, 7), "factor": 2.5}),
        ("width=2,bands=[1, 5]", {"bands": [1, 5]}),
        ("width=2,bands=5-", {"bands": slice(5, None)}),
        ("width=2,path=2026,11/7-9.nc,how=5", {"path": "2026,11/7-9.nc", "how": "5"}),
        ("width=2,path=a=b", {"path": "a=b"}),
        ("width=2,factor=.5", {"factor": 0.5}),
    ],
)
def test_values_in_texts(plugged, text, values):
    assert stage_from_text(f"mine:{text}") == Mine(2, **values)


def test_a_file_whose_name_is_a_number_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "2026").write_text("1\n2\n")
    monkeypatch.chdir(tmp_path)
    assert stage_from_text("spectral_angle:path=2026").spectrum == (1, 2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("levle:level=4", r"there is no stage 'levle' \(did you mean level\?\); there are .*level.*mine"),
        ("mine:widht=4", r"has no parameter 'widht' \(did you mean width\?\): it has width, how, rows"),
        ("mine", "stage 'mine' needs width, such as 'mine:width=...'"),
        ("mine:width=-1", "width must be >= 0, got -1"),
        ("mine:width=wide", "stage 'mine' does not take {'width': 'wide'}: '<' not supported"),
        ("mine:width", "expected key=value, got 'width'; it has width"),
        ("mine:width=1,width=2", "width is given twice"),
        ("", "a stage is given as a text such as 'bin_bands:n=2', got ''"),
    ],
)
def test_what_is_wrong_is_said(plugged, text, why):
    with pytest.raises(ArgumentError, match=why):
        stage_from_text(text)


def test_a_stage_that_cannot_be_imported_stops_only_what_needs_it(plugged, caplog):
    plugged(broken="no_such_package:Stage", wrong="json:dumps", other=f"{__name__}:Mine")
    for code, why in (("broken", "No module named"), ("wrong", "<function dumps"), ("other", "with the code 'mine'")):
        with pytest.raises(JobError, match=f"the stage '{code}' .*{why}"):
            stage_named(code)
    assert set(all_stages()) == set(registry.STAGES)
    assert "no_such_package" in caplog.text


def test_built_in_stages_cannot_be_replaced(plugged):
    plugged(level=f"{__name__}:Mine")
    assert all_stages()["level"] is Level
