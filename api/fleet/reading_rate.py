"""A counter, looked at now and then -> how fast it grows."""

from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 10.0
FORGOTTEN_AFTER_SECONDS: Final = 60.0
APART_SECONDS: Final = 0.5


class ReadingRate:
    """Growth a second, over the last 10 s or since the look before when that is longer ago; a minute at most."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, at: float, count: int) -> float | None:
        """Note that the counter stands at `count` at `at` seconds; None while there is nothing to compare with."""
        looks = self._looks
        if looks and (at - looks[-1][0] > FORGOTTEN_AFTER_SECONDS or count < looks[-1][1]):
            looks.clear()  # nobody has asked for long, or the counter began anew
        if not looks or at - looks[-1][0] >= APART_SECONDS:
            looks.append((at, count))
        while len(looks) > 2 and at - looks[1][0] >= WINDOW_SECONDS:  # noqa: PLR2004 - one to compare with stays
            looks.popleft()
        began, before = looks[0]
        return round((count - before) / (at - began), 1) if at - began >= APART_SECONDS else None
