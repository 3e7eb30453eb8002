"""What operators decide while we run: gaps that were settled, breakers that were closed."""

from itertools import count
from typing import Final

from consumer.pipeline.breaker import Breaker
from consumer.pipeline.poll_loop import Pipeline

LOOK_SECONDS: Final = 2.0
HALTED_EVERY: Final = 5  # looks


async def follow_operators(pipeline: Pipeline, breaker: Breaker) -> None:
    """Look every two seconds and when a topic was stopped here, at halted partitions every ten, until cancelled."""
    for look in count(1):
        await breaker.wait(LOOK_SECONDS)
        await breaker.look()
        pipeline.assignment.follow_breaker(pipeline.in_hand())
        if look % HALTED_EVERY == 0:
            pipeline.assignment.recheck_halted()
