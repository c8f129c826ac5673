"""`take_reference` of a camera: a file, and groups in the cubes that follow, as long as they belong to them."""

import logging

import numpy as np
import pytest

from openhsi_shared import ProcessRawDatacube, SharedOpenHSI, SharedSimulatedCamera, open_cube, verify
from openhsi_shared.errors import ArgumentError, FileError, ReferenceRefused
from openhsi_shared.files.references import Reference
from tests.support.helpers import wait_for

LIT = {"resolution": (16, 32), "row_slice": None, "cal_path": "", "mode": "flat", "noise": 0, "dark": (100, 2)}
LIT |= {"light": 600.0, "exposure_ms": 5.0, "n_lines": 4}


def saved(camera, directory):
    camera.collect(progress=False)
    return camera.save(directory).result().path


def names_in(path):
    with open_cube(path) as cube:
        return sorted(cube.groups["references"].groups) if "references" in cube.groups else []


@pytest.fixture(scope="module")
def flight(tmp_path_factory):
    """A dark and a white reference, and a cube with both."""
    folder = tmp_path_factory.mktemp("flight")
    with SharedSimulatedCamera(**{**LIT, "light": 0.0}) as camera:
        dark = camera.take_reference("dark", 20, folder)
        with pytest.raises(ReferenceRefused, match=r"the white reference is dark: its median is 2\.69 %"):
            camera.take_reference("white", 20, folder)
    with SharedSimulatedCamera(**LIT, references={"dark": dark.path}) as camera:
        white = camera.take_reference("white", 20, folder)
        with pytest.raises(ReferenceRefused, match=r"the dark reference is bright: its mean is .* cover the lens"):
            camera.take_reference("dark", 20, folder)
        path = saved(camera, folder)
        assert camera.status().lines_lost == 0
    assert len(list((folder / "references").iterdir())) == 2
    return folder, dark, white, path


def test_the_cube_contains_both_with_their_age(flight):
    _, dark, white, path = flight
    assert verify(path).problems == ()
    with open_cube(path) as cube:
        groups = cube.groups["references"].groups
        for reference in (dark, white):
            group = groups[reference.kind]
            np.testing.assert_array_equal(group.variables["mean"].data, reference.mean)
            assert group.attributes["sha256"] == reference.sha256
            assert group.attributes["n_frames"] == 20
            begin_ns = int(cube.times_ns[0])
            assert group.attributes["age_s"] == pytest.approx((begin_ns - reference.time_ns) / 1e9)
        assert (cube.attributes["lines_lost"], cube.attributes["lost_frame_ids"]) == (0, "")
    np.testing.assert_array_equal(dark.mean, np.full((16, 32), 110.0), "100 counts, and 2 counts/ms for 5 ms")
    assert (dark.temperature, dark.saturated) == (20.0, 0.0)
    np.testing.assert_array_equal(white.standard_deviation, np.zeros((16, 32)))


def test_reflectance_is_that_of_the_panel_where_there_is_light(flight):
    _, dark, white, path = flight
    with open_cube(path) as cube:
        lines = cube.reflectance(panel=0.5)
        expected = np.where(white.mean > dark.mean, 0.5, np.nan)
        assert (lines.shape, lines.dtype) == ((4, 16, 32), np.float32)
        np.testing.assert_allclose(lines[2], expected, rtol=1e-6)
        out = np.empty((2, 16, 32), np.float32)
        assert lines.read_into(1, 3, out).all()
        np.testing.assert_array_equal(out, np.asarray(lines)[1:3])
        for panel in (0, -1, "white", True, np.nan):
            with pytest.raises(ArgumentError, match="panel must be the reflectance"):
                cube.reflectance(panel)


def test_no_reflectance_of_lines_that_are_others(flight, tmp_path):
    *_, path = flight
    with ProcessRawDatacube(str(path), processing_lvl=0, cal_path="") as made:
        made.collect(progress=False)
        other = made.save(tmp_path).result().path
    with open_cube(other) as cube, pytest.raises(ReferenceRefused, match="its level is -1, not 0"):
        cube.reflectance()
    with SharedSimulatedCamera(**LIT) as camera:
        alone = saved(camera, tmp_path)
    with open_cube(alone) as cube, pytest.raises(FileError, match=r"contains no dark reference \(none was taken\)"):
        cube.reflectance()


def test_references_go_on_while_they_fit_and_one_warning_says_why_not(flight, tmp_path, caplog):
    folder, *_ = flight
    with SharedSimulatedCamera(**LIT, references=folder) as camera:
        assert names_in(saved(camera, tmp_path)) == ["dark", "white"]
        camera.set_exposure(4.0)
        assert names_in(saved(camera, tmp_path)) == []
        assert names_in(saved(camera, tmp_path)) == []
        warnings = [text for text in caplog.messages if "without the dark reference" in text]
        assert len(warnings) == 1
        assert "its exposure_ms is 5.0, not 4.0" in warnings[0]
        camera.reinitialise(binxy=(2, 1))
        camera.set_exposure(5.0)
        assert names_in(saved(camera, tmp_path)) == []
        assert any("its binxy is [1, 1], not [2, 1]" in text for text in caplog.messages)
        camera.reinitialise(binxy=(1, 1), embed_references=False)
        path = saved(camera, tmp_path)
    assert names_in(path) == []
    with open_cube(path) as cube:
        assert '"sha256"' in cube.attributes["reference_files"]


@pytest.mark.parametrize(
    ("references", "more", "error", "why"),
    [
        ("both", {"exposure_ms": 6.0}, ReferenceRefused, "its exposure_ms is 5.0, not 6.0"),
        ("both", {"camera_id": "other"}, ReferenceRefused, "its camera_id is simulated, not other"),
        ("swapped", {}, ArgumentError, "is a white reference, not a dark one"),
        ({"dark": "nowhere.nc"}, {}, FileError, "nowhere.nc"),
        ({"grey": "nowhere.nc"}, {}, ArgumentError, "'dark' or 'white', got 'grey'"),
        ("nowhere", {}, FileError, "nowhere has no references"),
        (7, {}, ArgumentError, "references must be a mapping"),
    ],
)
def test_references_that_are_given_must_fit(flight, references, more, error, why):
    folder, _, white, _ = flight
    given = {"both": folder, "swapped": {"dark": white.path}}.get(references) if isinstance(references, str) else None
    with pytest.raises(error, match=why):
        SharedSimulatedCamera(**{**LIT, **more}, references=given or references)


def test_what_the_writer_cannot_read_is_said_and_the_cube_is_saved(flight, tmp_path, caplog):
    with SharedSimulatedCamera(**LIT) as camera:
        white = camera.take_reference("white", 2, tmp_path)
        white.path.unlink()
        path = saved(camera, tmp_path)
    with open_cube(path) as cube:
        assert "references" not in cube.groups
        assert "No such file" in cube.attributes["references_failed"]
        with pytest.raises(FileError, match="contains no dark reference"):
            cube.reflectance()
    wait_for(lambda: any("the white reference is not in the file" in text for text in caplog.messages))


def test_where_it_goes_and_when_it_cannot_be_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SharedSimulatedCamera(**LIT) as camera:
        assert camera.take_reference("white", 2).path.parent == tmp_path / "references"
        camera.collect(progress=False)
        with pytest.raises(ArgumentError, match="4 lines are collected and not saved"):
            camera.take_reference("white", 2)
        camera.save(tmp_path / "out").result()
        assert camera.take_reference("white", 2).path.parent == tmp_path / "out/references"
        for bad in ({"kind": "grey"}, {"n": 1}, {"save_dir": 5}):
            with pytest.raises(ArgumentError):
                camera.take_reference(**{"kind": "dark", **bad})


class Mine(SharedOpenHSI):
    """A camera of a user, which has a frame id for none of its frames."""

    def start_cam(self):
        self.n = 0

    def stop_cam(self):
        pass

    def get_img(self):
        self.n += 1
        return np.full((6, 8), 200 if self.n % 2 else 202, np.uint16)


def test_a_camera_of_a_user_takes_references_too(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    with Mine(n_lines=3, resolution=(6, 8), processing_lvl=0) as camera:
        dark = camera.take_reference("dark", 4, tmp_path)
        assert dark.mean.tolist() == np.full((6, 8), 201.0).tolist()
        path = saved(camera, tmp_path)
        assert camera.status().lines_lost == 0
    assert names_in(path) == ["dark"]
    assert Reference.read(dark.path).attributes["camera"] == "Mine"
    assert caplog.messages == []
