"""The decoder: records of one topic to rows and dead letters.

No record makes it raise, and a rejected record does not affect the others.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Final

import structlog
from msgspec.structs import astuple

from consumer.records.batch import DeadLetter, Decoded
from consumer.records.record import Record
from consumer.records.record_type import DEVICE, RECORDED_AT, RecordType, Row
from schemas.records.readings import InvalidReading, Limits, Reason, TimeLimits, valid_characters, valid_id

log = structlog.get_logger(__name__)

RECORD_MAX_BYTES: Final = 1_048_576
VALUES_PER_DECODE: Final = 250  # when one value of a chunk is invalid, all values of the chunk are decoded one by one
_value: Final = attrgetter("value")
_device: Final = itemgetter(DEVICE)
_recorded_at: Final = itemgetter(RECORDED_AT)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A record that has to wait: its position among the records that were asked about, and what makes the missing part known.

    `load` may be repeated after an error; once it has returned, the record can be decoded.
    """

    position: int
    load: Callable[[], Coroutine[Any, Any, None]]


class Decoder:
    """Decodes the records of one topic.

    Args:
        record_type: what the topic carries.
        max_bytes: the largest value of a valid record.
    """

    def __init__(self, record_type: RecordType, max_bytes: int = RECORD_MAX_BYTES) -> None:
        self.record_type = record_type
        self._max_bytes = max_bytes

    def decode(self, records: list[Record], limits: TimeLimits) -> Decoded:
        """Decode each record to a row or a dead letter.

        Args:
            records: of one topic, in the order in which Kafka returned them.
            limits: range of valid timestamps, unless the record type has limits of its own.
        """
        decoded = Decoded([], [], [])
        type_limits = self.record_type.limits or limits
        remaining = iter(records)
        while chunk := list(islice(remaining, VALUES_PER_DECODE)):
            try:
                rows = self._decode_chunk(chunk, type_limits)
            except Exception:  # noqa: BLE001 - decoding one by one finds the record that causes it
                rows = None
            if rows is None:
                self._decode_one_by_one(chunk, type_limits, decoded)
            else:
                decoded.rows.extend(rows)
                decoded.records.extend(chunk)
        return decoded

    async def prepare(self, topic: str) -> None:
        """Find out what the records of the topic will need, so that they need not wait; never raises for the world's faults."""

    def first_unknown(self, records: list[Record]) -> Unknown | None:
        """The first record that cannot be decoded before something else is known; None when there is none."""
        return None

    def _decode_chunk(self, records: list[Record], limits: Limits) -> list[Row] | None:
        """Decode all records in one call; None, or any error, unless every one of them is certainly valid."""
        rows = self._decode_lines(list(map(_value, records)))
        return rows if rows is not None and within(rows, limits) else None

    def _decode_lines(self, values: list[bytes]) -> list[Row] | None:
        """Decode JSON values in one call; None, or any error, unless every one of them is certainly one valid object."""
        decode = self.record_type.decode_lines
        if decode is None or sum(map(len, values)) > self._max_bytes:
            return None
        lines = b"\n".join(values)
        if not _has_one_object_per_line(lines, len(values)):
            return None
        rows = list(map(astuple, decode(lines)))
        return rows if len(rows) == len(values) else None

    def _decode_one_by_one(self, records: list[Record], limits: Limits, decoded: Decoded) -> None:
        for record in records:
            try:
                outcome = self._decode_one(record, limits)
            except Exception as error:  # of our own code: it concerns this record, not its neighbours
                partition = record.topic_partition
                log.exception(
                    "record_failed", topic=partition.topic, partition=partition.partition, offset=record.offset
                )
                outcome = DeadLetter(record, Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
            if isinstance(outcome, DeadLetter):
                decoded.dead_letters.append(outcome)
            else:
                decoded.rows.append(outcome)
                decoded.records.append(record)

    def _decode_one(self, record: Record, limits: Limits) -> Row | DeadLetter:
        size = len(record.value or b"")
        if size > self._max_bytes:
            detail = f"the value has {size} bytes, more than {self._max_bytes} (RECORD_MAX_BYTES)"
            return DeadLetter(record, Reason.TOO_LARGE, detail)
        try:
            value = self._as_json(record)
        except InvalidReading as error:
            return DeadLetter(record, error.reason, str(error))
        row = self._decode_json(value, limits)
        if row is not None:
            return row
        rejection = self.record_type.explain_rejection(value, limits)
        return DeadLetter(record, rejection.reason, str(rejection))

    def _as_json(self, record: Record) -> bytes | None:
        """The value of a record as JSON.

        Raises:
            InvalidReading: it has no such form.
        """
        return record.value

    def _decode_json(self, value: bytes | None, limits: Limits) -> Row | None:
        """The row of a value; None when it is not valid."""
        try:
            row = astuple(self.record_type.decode(value))
        except (ValueError, TypeError, RecursionError):  # msgspec raises ValueErrors; a None value is a TypeError
            return None
        return row if valid_id(row[DEVICE]) and limits.oldest <= row[RECORDED_AT] <= limits.newest else None


def within(rows: list[Row], limits: Limits) -> bool:
    """Whether all device ids, of valid length, have valid characters, and all instants are within the limits."""
    if not valid_characters(map(_device, rows)):
        return False
    times = list(map(_recorded_at, rows))
    return bool(limits.oldest <= min(times) and max(times) <= limits.newest)


def _has_one_object_per_line(lines: bytes, values: int) -> bool:
    """Whether each of the joined values begins with { and ends with }, and none contains a line break.

    Then no JSON object can span two values, because inside an object no { may follow a }. If the number of decoded objects
    equals the number of values as well, each value is exactly one object.
    """
    separators = values - 1
    return (
        lines.startswith(b"{")
        and lines.endswith(b"}")
        and lines.count(b"\n") == separators
        and lines.count(b"}\n{") == separators
    )
