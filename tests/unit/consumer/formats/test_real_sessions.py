"""The readings of the 992 real sessions are the same rows in each format as in JSON."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumer.records.decode import Decoder
from deploy.simulator.readings import RecordType
from schemas.records.readings import TimeLimits
from tests.support.formats.encoding import FORMATS, framed, framed_decoder, own_schema
from tests.support.records import RECORD_TYPES, records
from tests.support.simulator import replay

END = datetime.now(UTC) - timedelta(hours=2)
TOPICS = {RecordType.METER: "meter-readings", RecordType.VEHICLE: "vehicle-readings"}


@pytest.fixture(scope="module")
def readings() -> dict[str, list[bytes]]:
    found = replay.readings(replay.visits(END))
    return {topic: [each.value or b"" for each in found if each.record_type is kind] for kind, topic in TOPICS.items()}


@pytest.mark.parametrize("value_format", FORMATS)
@pytest.mark.parametrize("topic", list(TOPICS.values()))
def test_every_reading_is_the_same_row(value_format: Any, topic: str, readings: dict[str, list[bytes]]) -> None:
    record_type, values, limits = RECORD_TYPES[topic], readings[topic], TimeLimits.at(datetime.now(UTC), 400)
    schema, encode = own_schema(value_format, record_type.struct), framed(value_format, record_type.struct)
    decoded = framed_decoder(value_format, record_type, {1: schema}).decode(records(map(encode, values)), limits)
    assert decoded.rows == Decoder(record_type).decode(records(values), limits).rows
    assert len(decoded.rows) == len(values) > 10_000
