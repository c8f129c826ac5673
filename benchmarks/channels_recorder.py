"""The recorder with real servers on loopback: three scalars and an image of 1024 x 1024 uint16 at 120 shots/s.

The CA server of EPICS base sends a large array as it is when it sends it, with the stamp of the update: when it is
behind, pixels are newer than their stamp. Such images are counted.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from benchmarks.measuring import Plan, Row
from openhsi_shared.channels import Recorder, State
from tests.channels.servers import running, shots_server
from tests.support.helpers import wait_for

__all__ = ["rows"]

RATE = 120.0


def rows(plan: Plan) -> list[Row]:
    return [
        _measure(plan, "pva", "PVAccess", 1.0) if find_spec("p4p") else _not_measured("PVAccess", "p4p"),
        _measure(plan, "ca", "Channel Access from softioc", 1.2)
        if find_spec("epics") and find_spec("softioc")
        else _not_measured("Channel Access", "pyepics and softioc"),
    ]


def _not_measured(words: str, needed: str) -> Row:
    return Row(benchmark="channels", what=f"recorder over {words}", ours=f"needs {needed}", verified="nothing")


def _measure(plan: Plan, transport: str, words: str, most_cores: float) -> Row:
    n_shots, side = plan.pick(60, 10, 1) * int(RATE), plan.pick(1024, 1024, 64)
    pvs: dict[str, object] = {f"B:{name}": f"{transport}:B:{name},rate={RATE:g}" for name in "abc"}
    of_image = {"threshold": 0.2, "expand": [20, 10]} | ({"shape": [side, side]} if transport == "ca" else {})
    pvs["B:img"] = {"source": f"{transport}:B:img,rate={RATE:g}"} | of_image
    server = shots_server(transport, "B", RATE, n_shots, (side, side))
    with running(server), Recorder(pvs, maxlen=2 * n_shots, matching_maxlen=500) as recorder:
        wait_for(lambda: set(recorder.states.values()) == {State.GOOD})
        wait_for(lambda: all(recorder.updates[name] + recorder.refused[name] for name in pvs))  # those before the shots
        recorder.clear()
        begun, used = time.perf_counter(), time.process_time()
        _put(transport)("B:go", 1.0)
        wait_for(lambda: recorder.updates["B:a"] > 0, 20)
        wait_for(lambda: not recorder.rate["B:a"], n_shots / RATE + 60)
        seconds, used = time.perf_counter() - begun, time.process_time() - used
        recorder.stop()
        data, updates, unmatched = recorder.snapshot(), dict(recorder.updates), recorder.unmatched
    np.testing.assert_array_equal(data["B:b"], 2 * data["B:a"])
    is_other = np.abs(data["B:img centre"]["x"] - 13 - data["B:a"] % 40) > 1e-6
    if transport == "pva" and is_other.any():
        raise AssertionError(f"{is_other.sum()} images are of another shot")
    for name in pvs:
        if updates[name] != data.n_rows + unmatched[name].n or recorder.refused[name]:
            raise AssertionError(
                f"{updates[name]} updates of {name}, {data.n_rows} rows, {unmatched[name].n} unmatched"
            )
    n_unmatched = sum(one.n for one in unmatched.values())
    cores = used / (n_shots / RATE)
    is_complete = n_unmatched == 0 and data.n_rows == n_shots if transport == "pva" else True
    return Row(
        benchmark="channels",
        what=f"recorder, 3 scalars and {side} x {side} uint16 at {RATE:g} Hz over {words}, {n_shots / RATE:.0f} s",
        ours=f"{data.n_rows} rows of {n_shots} shots, {n_unmatched} updates unmatched, {cores:.2f} cores",
        target=f"{'0 unmatched' if transport == 'pva' else 'each update in a row or counted'}, <= {most_cores} cores",
        is_reached=is_complete and cores <= most_cores,
        verified="each row has the values of one shot, and updates are rows and unmatched ones"
        + (
            f"; {is_other.sum()} images came from the server with newer pixels than their stamp"
            if is_other.any()
            else ""
        ),
        figures={
            "newer_pixels": int(is_other.sum()),
            "cores": cores,
            "rows": data.n_rows,
            "updates": updates,
            "seconds": seconds,
        },
    )


def _put(transport: str) -> Callable[[str, float], object]:
    if transport == "ca":
        import epics

        return lambda name, value: epics.caput(name, value, wait=True)
    from p4p.client.thread import Context

    return Context("pva").put
