"""Bodies -> readings: one, or the items of a JSON array or of NDJSON; each valid or not on its own."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from api.ingestion.request import Refusal
from schemas.records.readings import (
    InvalidReading,
    MeterReading,
    Reading,
    TimeLimits,
    VehicleReading,
    read_meter,
    read_vehicle,
)

JSON_ARRAY: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
AT_ONCE: Final = (
    100  # items that are read before others get their turn: one that is wrong takes far longer than a valid one
)
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the two kinds of readings that are taken in."""

    name: str
    reading: type[Reading]
    read: Callable[[bytes, TimeLimits], Reading]
    device: Callable[[Any], str]

    def welcome(self, reading: Reading) -> str:
        """What a client is told when Kafka has its reading."""
        return f"{self.name} {self.device(reading)} data ingested successfully"


METER: Final = Kind("Meter", MeterReading, read_meter, lambda reading: reading.meter_id)
VEHICLE: Final = Kind("Vehicle", VehicleReading, read_vehicle, lambda reading: reading.vehicle_id)


def limits_now(retention_days: int) -> TimeLimits:
    """The limits for a reading that arrives now."""
    return TimeLimits.at(datetime.now(UTC), retention_days)


def media_type(content_type: bytes, content_encoding: bytes) -> str:
    """Which of the two forms a batch has.

    Raises:
        Refusal: 415, neither.
    """
    found = content_type.split(b";", 1)[0].strip().lower().decode("latin-1")
    if found not in (JSON_ARRAY, NDJSON):
        raise Refusal(
            415, f"a batch is {JSON_ARRAY} (an array) or {NDJSON} (a reading a line); say which in Content-Type"
        )
    if content_encoding.strip().lower() not in (b"", b"identity"):
        raise Refusal(415, "a compressed body is not read; send it without Content-Encoding")
    return found


def split(body: bytes, form: str, most: int) -> list[bytes]:
    """The items of a batch, not looked at yet.

    Raises:
        Refusal: 400 when it is not a batch at all, 413 when it has more than `most` items.
    """
    if not body.strip():
        raise Refusal(400, "the body is empty")
    return _lines(body, most) if form == NDJSON else _elements(body, most)


def _lines(body: bytes, most: int) -> list[bytes]:
    if body.count(b"\n") > 2 * most:  # blank lines do not count, but a body of nothing else is not worth its memory
        raise _too_many(most)
    found = [line for line in body.split(b"\n") if line.strip()]
    if len(found) > most:
        raise _too_many(most)
    return found


def _too_many(most: int) -> Refusal:
    return Refusal(413, f"the batch has more than {most} readings; send it in parts")


def _elements(body: bytes, most: int) -> list[bytes]:
    try:
        elements = _array.decode(body)
    except RecursionError:
        raise Refusal(400, "JSON is nested too deeply") from None
    except msgspec.ValidationError:
        raise Refusal(400, f"a batch is a JSON array of readings, or {NDJSON}") from None
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if len(elements) > most:
        raise _too_many(most)
    return [bytes(element) for element in elements]


async def read_all(kind: Kind, items: list[bytes], limits: TimeLimits) -> list[Reading | InvalidReading]:
    """Each item, or why it is none. Others get their turn in between."""
    found: list[Reading | InvalidReading] = []
    for part in _parts(items):
        found.extend(_read(kind, item, limits) for item in part)
        await asyncio.sleep(0)
    return found


def _read(kind: Kind, item: bytes, limits: TimeLimits) -> Reading | InvalidReading:
    try:
        return kind.read(item, limits)
    except InvalidReading as invalid:
        return invalid


def _parts(items: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]
