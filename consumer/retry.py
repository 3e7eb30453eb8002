"""Retry policies with exponential backoff from 0.1 to 5 seconds: a consumer's without end, a command's with a deadline."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, ParamSpec, TypeVar

import stamina
import stamina.instrumentation

P = ParamSpec("P")
T = TypeVar("T")
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 5.0

# Every caller logs its retries itself, with facts that stamina does not have.
stamina.instrumentation.set_on_retry_hooks(())


def backoff() -> Iterator[float]:
    """The waits between the attempts, in seconds, without end.

    The bound doubles up to the longest wait; a wait is a random half to whole of it, so that consumers that lost the database
    together do not return to it in step. stamina's own jitter ends where the longest wait is reached.
    """
    longest = FIRST_WAIT_SECONDS
    while True:
        yield longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, protects nothing
        longest = min(2 * longest, LONGEST_WAIT_SECONDS)


def retry_forever(
    *errors: type[Exception], unless: Callable[[BaseException], bool] = lambda _: False
) -> AsyncIterator[stamina.Attempt]:
    """Attempts that repeat a block while it raises one of `errors`; others, and those for which `unless` is true, are raised.

    `errors` are faults of the world, which may pass; an error of our own code is never among them. `next_wait` of an attempt is
    the upper bound of the next wait. Cancellation ends the attempts at once.
    """
    waits = backoff()

    def wait_seconds(error: BaseException) -> float | bool:
        return next(waits) if isinstance(error, errors) and not unless(error) else False

    return stamina.retry_context(
        on=wait_seconds,
        attempts=None,
        timeout=None,
        wait_initial=FIRST_WAIT_SECONDS,
        wait_max=LONGEST_WAIT_SECONDS,
        wait_jitter=0,
    )


def retry_for(seconds: float, may_pass: Callable[[Exception], bool]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator that repeats a coroutine function while `may_pass` is true of its error.

    It raises the last error when the next attempt would start later than `seconds` after the first.
    """
    return stamina.retry(
        on=may_pass, attempts=None, timeout=seconds, wait_initial=FIRST_WAIT_SECONDS, wait_max=LONGEST_WAIT_SECONDS
    )
