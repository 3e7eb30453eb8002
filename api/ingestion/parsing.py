"""Request bodies -> readings: a single one, or the items of a JSON array or of NDJSON, each valid or invalid on its own."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from api.ingestion.request import RejectedRequest
from schemas.records.readings import (
    InvalidReading,
    MeterReading,
    Reading,
    TimeLimits,
    VehicleReading,
    parse_meter,
    parse_vehicle,
)

JSON_ARRAY: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
# Items parsed before other requests get a turn: an invalid item takes far longer than a valid one.
ITEMS_PER_TURN: Final = 100
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class ReadingType:
    """One of the two types of readings: its name in messages, its schema, how to parse it, and the id of its device."""

    name: str
    schema: type[Reading]
    parse: Callable[[bytes, TimeLimits], Reading]
    device_id: Callable[[Any], str]

    def acknowledgement(self, reading: Reading) -> str:
        """The message to a client whose reading Kafka has acknowledged."""
        return f"{self.name} {self.device_id(reading)} data ingested successfully"


METER: Final = ReadingType("Meter", MeterReading, parse_meter, lambda reading: reading.meter_id)
VEHICLE: Final = ReadingType("Vehicle", VehicleReading, parse_vehicle, lambda reading: reading.vehicle_id)


def time_limits(retention_days: int) -> TimeLimits:
    """The limits for the timestamp of a reading that arrives now."""
    return TimeLimits.at(datetime.now(UTC), retention_days)


def batch_media_type(content_type: bytes, content_encoding: bytes) -> str:
    """JSON_ARRAY or NDJSON.

    Raises:
        RejectedRequest: 415, the body is neither, or is compressed.
    """
    media_type = content_type.split(b";", 1)[0].strip().lower().decode("latin-1")
    if media_type not in (JSON_ARRAY, NDJSON):
        raise RejectedRequest(
            415,
            f"a batch is {JSON_ARRAY} (an array) or {NDJSON} (one reading per line); set Content-Type to one of them",
        )
    if content_encoding.strip().lower() not in (b"", b"identity"):
        raise RejectedRequest(415, "compressed bodies are not supported; send the batch without Content-Encoding")
    return media_type


def split_batch(body: bytes, media_type: str, limit: int) -> list[bytes]:
    """The items of a batch, not parsed yet.

    Raises:
        RejectedRequest: 400 when the body is not a batch, 413 when it has more than `limit` items.
    """
    if not body.strip():
        raise RejectedRequest(400, "the body is empty")
    return _lines(body, limit) if media_type == NDJSON else _elements(body, limit)


def _lines(body: bytes, limit: int) -> list[bytes]:
    if body.count(b"\n") > 2 * limit:  # blank lines do not count, but splitting a body of millions of them takes memory
        raise _too_many_items(limit)
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > limit:
        raise _too_many_items(limit)
    return lines


def _elements(body: bytes, limit: int) -> list[bytes]:
    try:
        elements = _array.decode(body)
    except RecursionError:
        raise RejectedRequest(400, "JSON is nested too deeply") from None
    except msgspec.ValidationError:
        raise RejectedRequest(400, f"a batch is a JSON array of readings, or {NDJSON}") from None
    except ValueError as error:
        raise RejectedRequest(400, f"the body is not JSON: {error}") from None
    if len(elements) > limit:
        raise _too_many_items(limit)
    return [bytes(element) for element in elements]


def _too_many_items(limit: int) -> RejectedRequest:
    return RejectedRequest(413, f"the batch has more than {limit} readings; split it")


async def parse_all(
    reading_type: ReadingType, items: list[bytes], limits: TimeLimits
) -> list[Reading | InvalidReading]:
    """The reading of each item, or what is wrong with it. Yields to the event loop every ITEMS_PER_TURN items."""
    readings: list[Reading | InvalidReading] = []
    for start in range(0, len(items), ITEMS_PER_TURN):
        readings.extend(_parse(reading_type, item, limits) for item in items[start : start + ITEMS_PER_TURN])
        await asyncio.sleep(0)
    return readings


def _parse(reading_type: ReadingType, item: bytes, limits: TimeLimits) -> Reading | InvalidReading:
    try:
        return reading_type.parse(item, limits)
    except InvalidReading as error:
        return error
