"""`openhsi-shared reference`: a file that the recording after it uses."""

from openhsi_shared import open_cube

LIT = ("--option", "resolution=[16,48]", "--option", "row_slice=null", "--option", "mode=flat", "--option", "dark=100")


def test_a_recording_uses_the_references_of_its_directory(run, run_apart, tmp_path):
    taken = run_apart("reference", "dark", "--frames", 10, *LIT, "--option", "light=0")
    assert (taken.code, taken.err) == (0, "")
    assert taken.out.startswith("dark: mean of 10 frames of 2 ms, 2.4")
    assert list((tmp_path / "flight/references").glob("dark_*.reference.nc"))
    refused = run("reference", "white", "--frames", 10, *LIT, "--option", "light=1e5")
    assert (refused.code, refused.out) == (1, "")
    assert "the white reference is saturated" in refused.err
    recorded = run("record", "--cubes", 1, "--lines", 8, *LIT, "--option", "light=200")
    assert recorded.code == 0, recorded.err
    [path] = (tmp_path / "flight").rglob("2*.nc")
    with open_cube(path) as cube:
        assert list(cube.groups["references"].groups) == ["dark"]
    assert run("verify", "flight").code == 0
