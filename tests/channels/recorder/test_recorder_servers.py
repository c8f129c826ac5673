"""The recorder with PVs of real servers on loopback."""

from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("p4p", reason="p4p is missing: pip install 'openhsi_shared[pva]'")
pytest.importorskip("epics", reason="epics is missing: pip install 'openhsi_shared[epics]'")
if find_spec("softioc") is None:  # importing it would load another libca into this process
    pytest.skip("softioc is missing: pip install softioc", allow_module_level=True)

from p4p.client.thread import Context

from openhsi_shared.channels import Recorder, State, read_rows
from tests.channels.servers import running, shots_server, softioc
from tests.support.helpers import wait_for

N_SHOTS = 360


def test_every_shot_of_a_pvaccess_server_is_a_row(tmp_path):
    pvs = {name: f"pva:{name},rate=120" for name in ("S:a", "S:b", "S:c")}
    pvs["S:img"] = {"source": "pva:S:img,rate=120", "threshold": 0.2, "expand": [3, 2]}
    with (
        running(shots_server("pva", "S", 120, N_SHOTS)),
        Recorder(maxlen=2 * N_SHOTS, matching_maxlen=500, **pvs) as recorder,
    ):
        wait_for(lambda: set(recorder.states.values()) == {State.GOOD})
        with Context("pva") as client:
            client.put("S:go", 1.0)
        wait_for(lambda: np.isin(N_SHOTS - 1, recorder.data["S:a"]))
    shots = recorder.snapshot()
    rows = slice(shots.n_rows - N_SHOTS, None)  # the values before the first shot may be a row, too
    data = shots[rows]
    np.testing.assert_array_equal(data["S:a"], np.arange(N_SHOTS))
    np.testing.assert_array_equal(data["S:b"], 2 * data["S:a"])
    np.testing.assert_allclose(data["S:c"], data["timestamp"] % 86400, atol=1e-5)
    np.testing.assert_allclose(data["S:img centre"]["x"], 13 + np.arange(N_SHOTS) % 40)
    assert all(region.shape == (13, 14) and region.max() == 1000 for region in data["S:img"])
    assert sum(one.n for one in recorder.unmatched.values()) <= 4  # of the values before the first shot
    assert recorder.states["S:a"] is State.ENDED
    saved = read_rows(recorder.save(tmp_path / "shots.nc").result(60).path)
    assert saved[-1]["S:b"] == 2 * (N_SHOTS - 1)


def test_pvs_of_an_ioc_are_matched_through_its_death_and_restart():
    pvs = {"T:a": None, "T:b": None, "T:c": None, "T:img": {"shape": [256, 300], "threshold": None}}
    ioc = softioc("T", rate=100.0)
    with running(ioc), Recorder(pvs, maxlen=1000, reference="T:img") as recorder:
        wait_for(lambda: len(recorder) >= 4)
        ioc.kill()
        wait_for(lambda: set(recorder.states.values()) == {State.LOST})
        before = len(recorder)
        ioc.start()
        wait_for(lambda: len(recorder) >= before + 4)
        recorder.stop()
        n = len(recorder)
        recorder.start()
        wait_for(lambda: len(recorder) >= n + 2)
    data = recorder.snapshot()
    np.testing.assert_array_equal(data["T:b"], 2 * data["T:a"])
    np.testing.assert_allclose(data["T:a"], data["timestamp"] % 86400, atol=1e-5)
    assert [int(region[0, 0]) for region in data["T:img"]] == data["T:c"].tolist()
    assert data["T:img"][0].shape == (256, 300)
    assert data.attributes["units"]["T:b"] == "mm"
    assert recorder.refused == dict.fromkeys(pvs, 0)
    for name in pvs:
        assert recorder.updates[name] == len(recorder) + recorder.unmatched[name].n
