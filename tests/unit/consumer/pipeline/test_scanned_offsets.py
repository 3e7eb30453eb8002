"""Offsets without records, as transaction markers have them, are written like a batch, but not as often."""

from typing import Any

import pytest
from aiokafka import TopicPartition

from consumer.pipeline import topic_buffer
from consumer.pipeline.topic_buffer import TopicBuffers
from consumer.records import batch as batches
from consumer.records.batch import BatchBuilder, Decoded
from consumer.settings import ConsumerSettings
from consumer.topic_registry import METER_READINGS
from tests.support.records import meter, records

TOPIC = "meter-readings"
PARTITION = TopicPartition(TOPIC, 0)


class Clock:
    """A monotonic clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def scan(builder: BatchBuilder, offsets: range, values: list[bytes]) -> None:
    fetched = records(values, offset=offsets.start)
    builder.add(PARTITION, offsets, fetched, 0, METER_READINGS, Decoded([], [], []))


def test_scanned_offsets_wait_a_second_and_records_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Any = Clock()
    monkeypatch.setattr(topic_buffer, "time", clock)
    monkeypatch.setattr(batches, "time", clock)
    buffers = TopicBuffers([TOPIC], None, ConsumerSettings(batch_max_wait_ms=50))  # type: ignore[arg-type]
    builder = buffers.builder(TOPIC)
    assert buffers.milliseconds_until_look() == []
    scan(builder, range(5, 7), [])
    scan(builder, range(7, 8), [])
    assert buffers.milliseconds_until_look() == [pytest.approx(1000)]
    assert buffers.unwritten_partitions() == {PARTITION}
    scan(builder, range(8, 10), [meter()])
    assert buffers.milliseconds_until_look() == [pytest.approx(50)]

    built = builder.build()
    assert len(built) == 0  # no row was decoded here
    (span,) = built.spans.values()
    assert (span.expected_offset, span.next_offset, span.end_offset, span.consumed) == (5, 10, 10, 1)
    assert span.last_record is not None
    assert span.last_record.offset == 8


@pytest.mark.parametrize(("offsets", "first"), [(range(4, 6), 4), (range(5, 6), 4), (range(5, 6), 6)])
def test_a_span_with_a_hole_or_a_record_outside_is_refused(offsets: range, first: int) -> None:
    builder = BatchBuilder()
    scan(builder, range(3, 5), [])
    with pytest.raises(RuntimeError, match="meter-readings"):
        builder.add(PARTITION, offsets, records([meter()], offset=first), 0, METER_READINGS, Decoded([], [], []))
