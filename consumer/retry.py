"""The retry policy of a consumer: without end, with exponential backoff from 0.1 to 5 seconds."""

import random
from collections.abc import AsyncIterator
from typing import Final

import stamina
import stamina.instrumentation

FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 5.0

# Every caller logs its retries itself, with facts that stamina does not have.
stamina.instrumentation.set_on_retry_hooks(())


def retry_forever(*errors: type[Exception], unless: tuple[type[Exception], ...] = ()) -> AsyncIterator[stamina.Attempt]:
    """Attempts that repeat a block while it raises one of `errors`; any other error and those of `unless` are raised.

    The wait doubles with each attempt up to `next_wait` of the attempt, of which a random half to whole is slept: consumers that
    lost the database together do not return to it in step. stamina's own jitter ends where the longest wait is reached.
    Cancellation ends the attempts at once.
    """
    longest = FIRST_WAIT_SECONDS

    def wait_seconds(error: BaseException) -> float | bool:
        nonlocal longest
        if not isinstance(error, errors) or isinstance(error, unless):
            return False
        seconds = longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, protects nothing
        longest = min(2 * longest, LONGEST_WAIT_SECONDS)
        return seconds

    return stamina.retry_context(
        on=wait_seconds,
        attempts=None,
        timeout=None,
        wait_initial=FIRST_WAIT_SECONDS,
        wait_max=LONGEST_WAIT_SECONDS,
        wait_jitter=0,
    )
