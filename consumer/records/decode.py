"""The decoder: records of one topic to rows and dead letters.

No record makes it raise, and a rejected record does not affect the others.
"""

from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Final

from msgspec.structs import astuple

from consumer.records.batch import DeadLetter, Decoded
from consumer.records.record import Record
from consumer.records.record_type import DEVICE, RECORDED_AT, RecordType, Row
from schemas.records.readings import Limits, TimeLimits, valid_id

VALID_IDS_LIMIT: Final = 1_000_000
VALUES_PER_DECODE: Final = 250  # when one value of a chunk is invalid, all values of the chunk are decoded one by one
_value: Final = attrgetter("value")
_device: Final = itemgetter(DEVICE)
_recorded_at: Final = itemgetter(RECORDED_AT)


class Decoder:
    """Decodes the records of one topic. A cache of device ids found valid halves the work."""

    def __init__(self, record_type: RecordType) -> None:
        self.record_type = record_type
        self._valid_ids: set[str] = set()

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
            rows = self._decode_chunk(chunk, type_limits)
            if rows is None:
                self._decode_one_by_one(chunk, type_limits, decoded)
            else:
                decoded.rows.extend(rows)
                decoded.records.extend(chunk)
        return decoded

    def _decode_chunk(self, records: list[Record], limits: Limits) -> list[Row] | None:
        """Decode all records in one call; None unless every one of them is certainly valid."""
        decode = self.record_type.decode_lines
        if decode is None:
            return None
        try:
            lines = b"\n".join(map(_value, records))
            if not _has_one_object_per_line(lines, len(records)):
                return None
            rows = list(map(astuple, decode(lines)))
        except (ValueError, TypeError, RecursionError):
            return None
        if len(rows) != len(records):
            return None
        if not self._valid_ids.issuperset(map(_device, rows)) and not all(map(self._is_valid_id, map(_device, rows))):
            return None
        times = list(map(_recorded_at, rows))
        return rows if limits.oldest <= min(times) and max(times) <= limits.newest else None

    def _decode_one_by_one(self, records: list[Record], limits: Limits, decoded: Decoded) -> None:
        decode, valid_ids = self.record_type.decode, self._valid_ids
        for record in records:
            try:
                row = astuple(decode(record.value))
            except (ValueError, TypeError, RecursionError):  # msgspec raises ValueErrors; a None value is a TypeError
                decoded.dead_letters.append(self._reject(record, limits))
                continue
            valid = row[DEVICE] in valid_ids or self._is_valid_id(row[DEVICE])
            if valid and limits.oldest <= row[RECORDED_AT] <= limits.newest:
                decoded.rows.append(row)
                decoded.records.append(record)
            else:
                decoded.dead_letters.append(self._reject(record, limits))

    def _is_valid_id(self, device_id: Any) -> bool:
        if not valid_id(device_id):
            return False
        if len(self._valid_ids) >= VALID_IDS_LIMIT:
            self._valid_ids.clear()
        self._valid_ids.add(device_id)
        return True

    def _reject(self, record: Record, limits: Limits) -> DeadLetter:
        error = self.record_type.explain_rejection(record.value, limits)
        return DeadLetter(record, error.reason, str(error))


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
