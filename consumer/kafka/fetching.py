"""Whether the Kafka client still works.

aiokafka fetches, and keeps up its membership of the group, in tasks of its own. When an error ends one of them the client logs it
and goes on without: it keeps its partitions, and `getmany` finds nothing, or the same error, for ever. Seen when a leader was
killed: two questions for the offset of one partition were under way, and the second answer met an assertion.
"""

import structlog
from aiokafka import AIOKafkaConsumer

log = structlog.get_logger(__name__)


class ClientStoppedError(Exception):
    """The client will never hand out a record again; a new process has to take over."""


def check_alive(consumer: AIOKafkaConsumer) -> None:
    """See that the tasks of a client that was started, and not stopped, are at work.

    Raises:
        FetchingEndedError: one has ended; the cause is in the log, and attached.
    """
    # The client looks at the first of them never, and at the second only to raise its error again and again.
    for task in (consumer._fetcher.error_future, consumer._coordinator._coordination_task):  # noqa: SLF001
        if task.done():
            cause = None if task.cancelled() else task.exception()
            error = ClientStoppedError("the Kafka client has stopped fetching; this process must be started anew")
            log.error("fetching_ended", detail=str(error), error=repr(cause))
            raise error from cause
