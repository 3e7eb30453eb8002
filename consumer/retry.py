"""The retry policy of a consumer: without end, exponential backoff from 0.1 to 5 seconds, with jitter."""

from collections.abc import AsyncIterator
from typing import Final

import stamina
import stamina.instrumentation

FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 5.0
JITTER_SECONDS: Final = 0.2  # keeps the consumers of a group from retrying in step

# Every caller logs its retries itself, with facts that stamina does not have.
stamina.instrumentation.set_on_retry_hooks(())


def retry_forever(*errors: type[Exception], unless: tuple[type[Exception], ...] = ()) -> AsyncIterator[stamina.Attempt]:
    """Attempts that repeat a block while it raises one of `errors`; any other error and those of `unless` are raised.

    Cancellation ends the attempts at once.
    """

    def is_retried(error: BaseException) -> bool:
        return isinstance(error, errors) and not isinstance(error, unless)

    return stamina.retry_context(
        on=is_retried,
        attempts=None,
        timeout=None,
        wait_initial=FIRST_WAIT_SECONDS,
        wait_max=LONGEST_WAIT_SECONDS,
        wait_jitter=JITTER_SECONDS,
    )
