"""Every built-in stage keeps the contract that authors of others test theirs against."""

from dataclasses import dataclass

import numpy as np
import pytest

from openhsi_shared.jobs.stages.registry import STAGES, stage_from_text, stage_named
from openhsi_shared.jobs.stages.stage import Stage
from openhsi_shared.testing import StageContract, format_of

TEXTS = [
    "level:level=-1",
    "crop:rows=1-5",
    "select_bands:from_nm=500,to_nm=700",
    "select_bands:bands=0,3,5",
    "bin_bands:n=2",
    "bin_lines:n=3",
    "bin_lines:n=5,how=sum",
    "bin_pixels:n=2,how=sum",
    "dark:lines=0-4",
    "white:lines=-4-,reflectance=0.9",
    "running_background:n=5",
    "sparse_background:n=5",
    "index:formula=ndvi",
    "rx",
    "spectral_angle:spectrum=[1,2,3,4,5,6,7,8]",
]


class TestOurStages(StageContract):
    @pytest.fixture(params=TEXTS)
    def stage(self, request):
        return stage_from_text(request.param)


class TestFunctions(StageContract):
    @pytest.fixture(params=["line", "rows"])
    def stage(self, request):
        if request.param == "line":
            return stage_named("function", function=lambda line: line.mean(axis=1))
        return stage_named(
            "function",
            function=lambda line: [(int(x), float(line[x, 0])) for x in np.flatnonzero(line[:, 0] > 2000)],
            kind="rows",
            fields="x int32; value float32",
        )


def test_all_are_there():
    need_more = {"function", "reflectance"}  # a function, and a file with references
    assert {text.partition(":")[0] for text in TEXTS} | need_more == set(STAGES)


# ---- the contract notices what is wrong ----


@dataclass
class Broken(Stage):
    """Right, but for one thing."""

    fault: str = ""
    code = "broken"

    def __post_init__(self):
        self.halo = (1, 0) if self.fault == "damaged" else (0, 0)

    def out_shape(self, source):
        return (source.line_shape[0], 1) if self.fault == "wavelengths" else source.line_shape

    def out_format(self, source):
        made = super().out_format(source)
        if self.fault == "wavelengths":
            return made.replace(wavelengths_nm=source.wavelengths_nm)
        return made.replace(dtype=np.dtype(np.float32)) if self.fault == "dtype" else made

    def prepare(self, source):
        self.fault = "other" if self.fault == "parameters" else self.fault

    def apply(self, lines, out):
        if self.fault == "fails":
            raise ValueError("no")
        out[:] = lines[:, :, :1] if self.fault == "wavelengths" else lines
        if self.fault == "blocks":
            out[:] = lines[:1]

    def apply_within(self, lines, out, before, good):
        out[:] = lines[before:]
        out[before == 0 :] += lines[: len(lines) - 1]


@dataclass
class Reshapes(Stage):
    """Would lose its result if `out` were strided."""

    code = "reshapes"
    takes_strided_out = True

    def apply(self, lines, out):
        out.reshape(-1)[:] = lines.reshape(-1)


@pytest.mark.parametrize(
    ("stage", "test", "why"),
    [
        (Broken("wavelengths"), "it_gives_what_it_announces", "wavelengths do not fit"),
        (Broken("dtype"), "it_gives_what_it_announces", "out_format has .*float32"),
        (Broken("blocks"), "any_block_gives_the_same", "give another result"),
        (Broken("damaged"), "damaged_lines_do_not_matter", "what is in damaged lines"),
        (Broken("fails"), "any_block_gives_the_same", "stage broken failed at line 0: ValueError: no"),
        (Broken("parameters"), "running_does_not_change_its_parameters", "before, .*other"),
        (Reshapes(), "any_block_gives_the_same", "give another result"),
    ],
)
def test_it_notices(stage, test, why):
    contract = StageContract()
    lines = np.random.default_rng(0).integers(1, 4000, (13, 6, 8)).astype(np.uint16)
    source = format_of(lines, wavelengths_nm=np.linspace(450.0, 850.0, 8))
    with pytest.raises(AssertionError, match=why):
        getattr(contract, f"test_{test}")(stage, lines, source)
