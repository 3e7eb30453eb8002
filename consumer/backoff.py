"""Waiting between tries: longer each time, up to a bound, and never in step with the other replicas."""

import asyncio
import random
from typing import Final

FIRST_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 5.0


class Backoff:
    """Doubles from 0.1 to 5 seconds, of which a random half to whole is slept."""

    def __init__(self) -> None:
        self.next_seconds = FIRST_SECONDS

    async def sleep(self) -> None:
        """Wait, and wait longer the next time."""
        seconds = self.next_seconds * random.uniform(0.5, 1)  # noqa: S311 - spreading load, not keeping secrets
        self.next_seconds = min(self.next_seconds * 2, LONGEST_SECONDS)
        await asyncio.sleep(seconds)
