"""The span of a batch, from its first decoded record to its commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from consumer.records.batch import Batch, BatchResult
from schemas.tracing.tracer import Span, Tracer

NANOSECOND: Final = 1e-9


@contextmanager
def batch_span(tracer: Tracer, batch: Batch) -> Iterator[Span]:
    """A span for writing a batch, which has begun with the decoding of its records and is linked to their producers."""
    topics = ", ".join(sorted({partition.topic for partition in batch.spans}))
    decoding = batch.decoding
    with tracer.span(
        f"process {topics}",
        "consumer",
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topics,
            "messaging.batch.message_count": len(batch),
        },
        links=batch.trace_contexts,
        started=decoding and decoding.started,
    ) as span:
        if decoding:
            busy = {"energy.busy_seconds": decoding.busy * NANOSECOND}
            tracer.add_span("decode", decoding.started, decoding.ended, busy)
        yield span


def outcome(result: BatchResult) -> dict[str, int]:
    """What became of the records of a batch, as attributes of its span."""
    return {
        "energy.records_written": result.written.total(),
        "energy.records_duplicate": result.duplicates.total(),
        "energy.dead_letters": result.dead_letters.total(),
    }
