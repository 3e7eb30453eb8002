"""What a process tells its tracer. The classes of this module record nothing: they are the tracer of a process without traces."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal

TRACEPARENT: Final = "traceparent"  # the header of the W3C trace context, of requests and of Kafka records
MAX_LINKS: Final = 32  # from one span to others
Kind = Literal["internal", "server", "producer", "consumer"]
Attributes = Mapping[str, str | int | float]
Headers = list[tuple[str, bytes]]
_NO_HEADERS: Final[Headers] = []


class Span:
    """A span in progress. This one is not recorded."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def rename(self, name: str) -> None:
        """Give the span another name."""

    def fail(self) -> None:
        """Mark the work of the span as failed. An exception that leaves the span's block does so by itself."""


_UNRECORDED: Final = nullcontext(Span())


class Tracer:
    """Opens spans, each of them a child of the one that is open in the same task. This tracer records nothing."""

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        attributes: Attributes | None = None,
        parent: Mapping[str, str] | None = None,
        links: Iterable[bytes] = (),
        started: int | None = None,
    ) -> AbstractContextManager[Span]:
        """A span for the duration of a block.

        Args:
            name: of few different values, so without ids.
            kind: the side of a request or of a record.
            attributes: facts about the work.
            parent: headers of the request that caused the work; without `traceparent` the span is the first of its trace.
            links: `traceparent` headers of records that the work is about; at most MAX_LINKS are linked, and of them those
                that their producer has sampled.
            started: when the work has begun before the block, in nanoseconds since 1970.
        """
        return _UNRECORDED

    def add_span(self, name: str, started: int, ended: int, attributes: Attributes | None = None) -> None:
        """Add a span of work that is over; the times are in nanoseconds since 1970."""

    def headers(self) -> Headers:
        """The headers that make Kafka records belong to the span that is open. Not to be changed."""
        return _NO_HEADERS

    def exemplar(self) -> dict[str, str] | None:
        """The labels of an exemplar that points to the span that is open; None unless that span is sampled."""
        return None

    def close(self) -> None:
        """Send what is left to the collector, in bounded time."""


NO_TRACER: Final = Tracer()
