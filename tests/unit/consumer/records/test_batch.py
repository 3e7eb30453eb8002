"""What a batch claims of each partition, and what it holds."""

from collections import Counter

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from consumer.records.batch import BatchBuilder
from consumer.records.decode import Decoder
from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS
from schemas.records.readings import TimeLimits
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
def test_spans_touch_and_every_record_is_a_row_or_a_letter(taken: list[tuple[str, int, list[bool], int]]) -> None:
    builder, reached, consumed = BatchBuilder(), Counter[TopicPartition](), Counter[TopicPartition]()
    for topic, number, kinds, hole in taken:
        partition, position = TopicPartition(topic, number), reached[TopicPartition(topic, number)]
        good = meter(at=minute(-position)) if topic.startswith("meter") else vehicle(at=minute(-position))
        fetched = records(
            [good if kind else b"?" for kind in kinds], topic=topic, partition=number, offset=position + hole
        )
        decoder = DECODERS[topic]
        builder.add(partition, position, fetched, 0, decoder.record_type, decoder.decode(fetched, LIMITS))
        reached[partition] = fetched[-1].offset + 1
        consumed[partition] += len(fetched)
    batch = builder.build()

    assert {partition: span.next_offset for partition, span in batch.spans.items()} == reached
    assert {partition: span.consumed for partition, span in batch.spans.items()} == consumed
    assert {span.expected_offset for span in batch.spans.values()} == {0}, "where each partition stood before"
    assert len(batch) == consumed.total()
    for kind, arrived in batch.rows_by_type.items():
        assert [record.offset for record in arrived.records_for(reversed(arrived.rows))] == [
            record.offset for record in reversed(arrived.records)
        ]
        for row, record in zip(arrived.rows, arrived.records, strict=True):
            assert astuple(kind.decode(record.value)) == row
        assert sorted(row for rows in arrived.by_device.values() for row in rows) == sorted(arrived.rows)
        assert all({row[0] for row in rows} == {device} for device, rows in arrived.by_device.items())
