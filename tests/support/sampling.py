"""Samples that prove themselves, and functions that fill rings in children."""

import os
import signal
import time
from typing import Any

import numpy as np

from openhsi_shared.buffers.samples import SampleMemory, Samples
from openhsi_shared.matching.states import State
from openhsi_shared.processes.spawning import SPAWN, spawn

N_VALUES = 3


def sample(k: int) -> tuple[int, int, int, int, tuple[float, ...]]:
    """Arguments of `put` for the sample k: each follows from the others."""
    return 3 * k, 5 * k, k, 7 * k, (k + 0.5, -2.0 * k, float(k * k % 1009))


def check(samples: Samples) -> None:
    """Fail if a sample is torn, missing, or in the wrong place."""
    k = samples.first_index + np.arange(len(samples))
    assert np.array_equal(samples.id, k)
    assert np.array_equal(samples.time_ns, 3 * k)
    assert np.array_equal(samples.arrival_ns, 5 * k)
    assert np.array_equal(samples.quality, 7 * k)
    assert np.array_equal(samples.values, np.column_stack([k + 0.5, -2.0 * k, k * k % 1009]))


def fill(connection: Any, memory: SampleMemory, name: str) -> None:
    """Put samples at full speed until the parent closes its end."""
    ring = memory.ring(name)
    k = ring.counts.delivered
    connection.send(k)
    while not connection.poll():
        for _ in range(100):
            ring.put(*sample(k))
            if k % 50 == 0:
                ring.note_state(5 * k, State(k // 50 % 2))
                ring.describe({"k": k, "text": "x" * (k % 1000)})
            k += 1


def fill_some(memory: SampleMemory, name: str, n: int) -> tuple[int, ...]:
    """Put n samples; returns the counts."""
    ring = memory.ring(name)
    for k in range(n):
        ring.put(*sample(k))
    return tuple(ring.counts)


def fill_in_grandchild(connection: Any, memory: SampleMemory, name: str, n: int) -> None:
    """Start a child, which puts n samples; then answer."""
    child = SPAWN.Process(target=fill_some, args=(memory, name, n))
    spawn(child)
    child.join()
    connection.send(child.exitcode)


def die_in_put(memory: SampleMemory, name: str) -> None:
    """Kill this process in the middle of a put: its sample is begun, and not done."""
    ring = memory.ring(name)

    class Fatal:
        def __float__(self) -> float:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
            return 0.0

    ring.put(0, 0, 0, 0, (1.0, 2.0, Fatal()))  # type: ignore[arg-type]
