"""The spans and the contents of a batch."""

from collections import Counter

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from consumer.records.batch import BatchBuilder
from consumer.records.decode import Decoder
from consumer.records.record import Record, TracedRecord
from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS
from schemas.records.readings import TimeLimits
from schemas.tracing.tracer import MAX_LINKS
from tests.support.records import NOON, meter, minute, records, vehicle

LIMITS = TimeLimits.at(NOON, 400)
DECODERS = {"meter-readings": Decoder(METER_READINGS), "vehicle-readings": Decoder(VEHICLE_READINGS)}
GOOD, BAD = True, False


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(DECODERS)),
            st.integers(0, 2),
            st.lists(st.sampled_from([GOOD, GOOD, BAD]), min_size=1, max_size=6),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_spans_are_contiguous_and_every_record_is_a_row_or_a_dead_letter(
    fetches: list[tuple[str, int, list[bool], int]],
) -> None:
    builder, next_offsets, consumed = BatchBuilder(), Counter[TopicPartition](), Counter[TopicPartition]()
    for topic, number, validity, hole in fetches:
        partition, position = TopicPartition(topic, number), next_offsets[TopicPartition(topic, number)]
        good = meter(at=minute(-position)) if topic.startswith("meter") else vehicle(at=minute(-position))
        fetched = records(
            [good if valid else b"?" for valid in validity], topic=topic, partition=number, offset=position + hole
        )
        decoder = DECODERS[topic]
        offsets = range(position, fetched[-1].offset + 1 + hole)
        builder.add(partition, offsets, fetched, 0, decoder.record_type, decoder.decode(fetched, LIMITS))
        next_offsets[partition] = offsets.stop
        consumed[partition] += len(fetched)
    batch = builder.build()

    assert {partition: span.next_offset for partition, span in batch.spans.items()} == next_offsets
    assert {partition: span.consumed for partition, span in batch.spans.items()} == consumed
    assert {span.expected_offset for span in batch.spans.values()} == {0}, (
        "the offset of each partition before the batch"
    )
    assert len(batch) == consumed.total()
    for record_type, buffer in batch.rows_by_type.items():
        assert [record.offset for record in buffer.records_for(reversed(buffer.rows))] == [
            record.offset for record in reversed(buffer.records)
        ]
        for row, record in zip(buffer.rows, buffer.records, strict=True):
            assert astuple(record_type.decode(record.value)) == row
        assert sorted(row for rows in buffer.by_device.values() for row in rows) == sorted(buffer.rows)
        assert all({row[0] for row in rows} == {device} for device, rows in buffer.by_device.items())


def test_a_batch_holds_a_bounded_number_of_trace_contexts_and_each_once() -> None:
    builder, partition = BatchBuilder(), TopicPartition("meter-readings", 0)
    for number in range(100):
        untraced = records([meter(at=minute(number))], offset=number)
        context = b"%d" % (number // 2)
        fetched: list[Record] = [
            TracedRecord(partition, each.offset, each.timestamp, each.key, each.value, trace_context=context)
            for each in untraced
        ]
        decoder = DECODERS["meter-readings"]
        offsets = range(number, number + 1)
        builder.add(partition, offsets, fetched, 0, decoder.record_type, decoder.decode(fetched, LIMITS))
    assert builder.build().trace_contexts == [b"%d" % number for number in range(MAX_LINKS)]


def test_the_time_of_decoding_spans_all_parts_and_counts_the_work_alone() -> None:
    builder = BatchBuilder()
    builder.add_decoding(100, 110)
    builder.add_decoding(150, 157)
    assert builder.build().decoding == (100, 157, 17)
