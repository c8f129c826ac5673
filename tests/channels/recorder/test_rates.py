"""Rates, by a clock that the test sets."""

import pytest

from openhsi_shared.channels.recorder.rates import Rates


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def ticking(rates, clock, name, n, period):
    for _ in range(n):
        clock.now += period
        rates.tick(name)


def test_a_rate_is_true_from_the_second_event_on():
    clock = Clock()
    rates = Rates("a", "b", clock=clock)
    assert dict(rates) == {"a": 0, "b": 0, "Total": 0}
    ticking(rates, clock, "a", 1, 0.01)
    assert rates["a"] == 0
    for n in (1, 1, 50, 500):
        ticking(rates, clock, "a", n, 0.01)
        assert rates.rate("a") == rates["a"] == pytest.approx(100)
    assert list(rates) == ["a", "b", "Total"]


def test_a_rate_falls_to_0_when_nothing_comes():
    clock = Clock()
    rates = Rates("a", clock=clock)
    ticking(rates, clock, "a", 100, 0.01)
    found = []
    for _ in range(30):
        clock.now += 0.1
        found.append(rates["a"])
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0


def test_a_slow_source_has_a_rate_too():
    clock = Clock()
    rates = Rates("a", clock=clock)
    ticking(rates, clock, "a", 5, 10.0)
    clock.now += 15
    assert rates["a"] == pytest.approx(0.1)
    clock.now += 60
    assert rates["a"] == 0


def test_what_follows_a_pause_is_counted_and_clearing_forgets():
    clock = Clock()
    rates = Rates("a", clock=clock)
    ticking(rates, clock, "Total", 150, 0.1)
    rates.tick()
    assert rates["Total"] > 10
    rates.clear()
    assert rates["Total"] == 0
    with pytest.raises(KeyError):
        rates.rate("b")
    with pytest.raises(TypeError):
        rates["a"] = 5
