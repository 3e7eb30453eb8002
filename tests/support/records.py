"""Builders of test data: values of Kafka records as bytes, records, batches."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiokafka import TopicPartition

from consumer.records.batch import Batch, BatchBuilder
from consumer.records.decode import Decoder
from consumer.records.record import Record
from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS, assignments, register_readings
from schemas.records.readings import TimeLimits

RECORD_TYPES = {
    "meter-readings": METER_READINGS,
    "vehicle-readings": VEHICLE_READINGS,
    "register-readings": register_readings(jitter_kwh=1.0),
    "assignments": assignments("assignments"),
}
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)


def minute(number: float) -> datetime:
    """The time `number` minutes after noon, two days ago."""
    return NOON + timedelta(minutes=number)


def meter(meter_id: str = "METER-001", at: datetime = NOON, kwh: float = 0.5, **changes: Any) -> bytes:
    """The value of a meter reading."""
    fields = {"meterId": meter_id, "kwhConsumedAc": kwh, "voltage": 240.5, "timestamp": at.isoformat()}
    return msgspec.json.encode(fields | changes)


def register(meter_id: str = "METER-001", at: datetime = NOON, kwh: float = 100.0, **changes: Any) -> bytes:
    """The value of a register reading."""
    return meter(meter_id, at, kwh, **changes)


def vehicle(vehicle_id: str = "VEH-001", at: datetime = NOON, kwh: float = 0.4, **changes: Any) -> bytes:
    """The value of a vehicle reading."""
    fields = {
        "vehicleId": vehicle_id,
        "soc": 80,
        "kwhDeliveredDc": kwh,
        "batteryTemp": 25.0,
        "timestamp": at.isoformat(),
    }
    return msgspec.json.encode(fields | changes)


def assignment(
    vehicle_id: str = "VEH-001",
    meter_id: str = "METER-001",
    start: datetime = NOON,
    end: datetime | None = None,
    **changes: Any,
) -> bytes:
    """The value of a vehicle-meter assignment."""
    fields = {
        "vehicleId": vehicle_id,
        "meterId": meter_id,
        "validFrom": start.isoformat(),
        "validTo": end and end.isoformat(),
    }
    return msgspec.json.encode(fields | changes)


def records(
    values: Iterable[bytes | None], *, topic: str = "meter-readings", partition: int = 0, offset: int = 0
) -> list[Any]:
    """Kafka records with consecutive offsets from `offset` on."""
    sent = int(datetime.now(UTC).timestamp() * 1000)
    topic_partition = TopicPartition(topic, partition)
    return [Record(topic_partition, number, sent, b"key", value) for number, value in enumerate(values, offset)]


def batch(*partitions: list[Any]) -> Batch:
    """The batch of some records: a list per partition, each with consecutive offsets."""
    builder = BatchBuilder()
    limits = TimeLimits.at(datetime.now(UTC), 400)
    for fetched in partitions:
        partition = fetched[0].topic_partition
        decoder = Decoder(RECORD_TYPES[partition.topic])
        decoded = decoder.decode(fetched, limits)
        offsets = range(fetched[0].offset, fetched[-1].offset + 1)
        builder.add(partition, offsets, fetched, fetched[-1].offset + 1, decoder.record_type, decoded)
    return builder.build()
