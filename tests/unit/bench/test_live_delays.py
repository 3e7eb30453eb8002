"""Delays that are drawn like the measured ones."""

from random import Random
from statistics import quantiles

from tests.bench.setup.live_delays import LiveDelays


def test_delays_are_drawn_like_the_measured_ones() -> None:
    dice = Random(1)
    measured = [int(dice.lognormvariate(2.3, 0.7)) for _ in range(2000)]
    delays = LiveDelays.of(measured)
    assert (delays.at(0), delays.at(1)) == (min(measured), max(measured))
    cuts = quantiles(measured, n=100, method="inclusive")
    drawn = quantiles((delays.at(dice.random()) for _ in range(20_000)), n=100, method="inclusive")
    assert all(abs(drawn[each] - cuts[each]) <= 1 + cuts[each] / 10 for each in (4, 24, 49, 74, 94))


def test_the_entropy_of_evenly_distributed_delays_is_known() -> None:
    details = LiveDelays.of([0, 256]).details()
    assert details == {"delay_p50_ms": 128, "delay_p99_ms": 253.44, "delay_bits": 8.0}
