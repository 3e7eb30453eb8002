"""Whether the Kafka client still fetches.

aiokafka fetches in a task of its own. When an error ends that task the client logs it and goes on without: it stays in the
group, keeps its partitions, and `getmany` finds nothing for ever. Seen when a leader was killed: two questions for the offset of
one partition were under way, and the second answer met an assertion.
"""

import structlog
from aiokafka import AIOKafkaConsumer

log = structlog.get_logger(__name__)


class FetchingEndedError(Exception):
    """The client will never hand out a record again; a new process has to take over."""


def ensure_fetching(consumer: AIOKafkaConsumer) -> None:
    """See that the client fetches.

    Raises:
        FetchingEndedError: it does not; the cause is in the log, and attached.
    """
    task = consumer._fetcher.error_future  # noqa: SLF001 - its task; the client never looks at it itself
    if task.done():
        cause = None if task.cancelled() else task.exception()
        error = FetchingEndedError("the Kafka client has stopped fetching; this process must be started anew")
        log.error("fetching_ended", detail=str(error), error=repr(cause))
        raise error from cause
