"""The heavy step of dranspose's tutorial: azimuthal integration by pyFAI, whose geometry arrives as a parameter."""

import tempfile

import numpy as np
import pytest

from openhsi_shared import open_cube
from openhsi_shared.analysis import BinaryParameter, replay
from tests.support.job_cubes import save_cube

pytest.importorskip("pyFAI", reason="pyFAI is not installed")

N_LINES, N_BINS = 12, 5
PONI = b"""poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": null, "orientation": 3}
Distance: 0.1
Poni1: 0.0003
Poni2: 0.0002
Rot1: 0.0
Rot2: 0.0
Rot3: 0.0
Wavelength: 1e-10
"""


def integrator_of(poni):
    """Of the content of a .poni file."""
    import pyFAI

    with tempfile.NamedTemporaryFile(suffix=".poni") as file:
        file.write(poni)
        file.flush()
        return pyFAI.load(file.name)


def integrated(integrator, picture):
    """(bin) Intensity of rings."""
    method = ("no", "histogram", "cython")
    return integrator.integrate1d(picture, N_BINS, unit="2th_deg", method=method, correctSolidAngle=False).intensity


class Azimuthal:
    """Integrates each picture."""

    @staticmethod
    def describe_parameters():
        return [BinaryParameter("poni", "geometry of the detector", default=b"")]

    def __init__(self, parameters):
        self._integrator = integrator_of(parameters["poni"].value)

    def process_event(self, event, parameters):
        acquisition = event.streams["xrd"].parse()
        return integrated(self._integrator, acquisition.data) if acquisition.htype == "image" else None


class Rings:
    """Publishes one row for each picture."""

    def __init__(self):
        self.publish, self._rows = {}, {}

    def process_result(self, result):
        self._rows[result.event_number] = result.payload

    def finish(self):
        self.publish["I"] = np.array([self._rows[number] for number in sorted(self._rows)])


@pytest.mark.filterwarnings("ignore")
def test_its_numbers_are_those_of_pyfai_itself_in_one_process_and_in_two(tmp_path):
    path = save_cube(tmp_path / "cube.nc", N_LINES)
    with open_cube(path) as cube:
        integrator = integrator_of(PONI)
        expected = np.array([integrated(integrator, line) for line in cube.lines[:]])
    for n_workers in (1, 2):
        done = replay(Azimuthal, Rings, path, {"poni": PONI}, n_workers, stream="xrd", progress=False)
        assert (done.n_failed, done.n_results) == (0, N_LINES)
        np.testing.assert_array_equal(done.published["I"], expected)
    assert expected.shape == (N_LINES, N_BINS)
    assert (expected > 0).any()
