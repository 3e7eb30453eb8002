"""The telemetry types: a field of a reading has its place in the struct, in the table, in the queries and in COPY."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import astuple, fields

from consumer.records.record_type import TelemetryType
from consumer.storage.copy_encoding import encode_copy
from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS, register_readings
from schemas.records.readings import MeterReading, RegisterReading, VehicleReading, example

pytestmark = pytest.mark.anyio

TYPES = [
    (METER_READINGS, MeterReading, example(MeterReading)),
    (VEHICLE_READINGS, VehicleReading, example(VehicleReading)),
    (register_readings(1.0), RegisterReading, example(MeterReading)),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(("telemetry_type", "struct", "reading"), TYPES)
async def test_struct_columns_arguments_and_copy_have_the_same_fields(
    telemetry_type: TelemetryType, struct: type[msgspec.Struct], reading: dict[str, Any]
) -> None:
    names = [field.name for field in fields(struct)]
    assert names[0] == telemetry_type.columns[0], "the device id"
    assert (names[1], telemetry_type.columns[1]) == ("timestamp", "recorded_at")
    assert len(telemetry_type.columns) == len(telemetry_type.arguments) == len(names)
    row = astuple(telemetry_type.decode(msgspec.json.encode(reading)))
    chunks = [chunk async for chunk in encode_copy([row])]
    assert int.from_bytes(chunks[1][:2], "big") == len(names)
