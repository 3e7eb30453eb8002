"""records -> rows and dead letters. No record makes it raise, and none stops its neighbours."""

from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Final

from msgspec.structs import astuple

from consumer.records.batch import DeadLetter, Decoded
from consumer.records.record import Record
from consumer.records.record_type import DEVICE, RECORDED_AT, RecordType, Row
from schemas.records.readings import Limits, TimeLimits, valid_id

KNOWN_IDS_LIMIT: Final = 1_000_000
AT_ONCE: Final = 250  # values in one go: when one of them is wrong, so many are looked at one by one
_value: Final = attrgetter("value")
_device: Final = itemgetter(DEVICE)
_recorded_at: Final = itemgetter(RECORDED_AT)


class Decoder:
    """Decodes one topic; remembers which ids it has found valid, which halves its work."""

    def __init__(self, record_type: RecordType) -> None:
        self.record_type = record_type
        self._known_ids: set[str] = set()

    def decode(self, records: list[Record], limits: TimeLimits) -> Decoded:
        """Rows of the records that are what the topic carries, and a dead letter for every other one.

        Args:
            records: of one topic, as Kafka gave them.
            limits: between which a reading's timestamp must lie, unless its kind has limits of its own.
        """
        decoded = Decoded([], [], [])
        within = self.record_type.limits or limits
        remaining = iter(records)
        while part := list(islice(remaining, AT_ONCE)):
            rows = self._all_at_once(part, within)
            if rows is None:
                self._one_by_one(part, within, decoded)
            else:
                decoded.rows.extend(rows)
                decoded.records.extend(part)
        return decoded

    def _all_at_once(self, records: list[Record], within: Limits) -> list[Row] | None:
        """The rows of records of which none is to be refused; None when that is not certain."""
        decode = self.record_type.decode_lines
        if decode is None:
            return None
        try:
            lines = b"\n".join(map(_value, records))
            if not _a_value_a_line(lines, len(records)):
                return None
            rows = list(map(astuple, decode(lines)))
        except (ValueError, TypeError, RecursionError):
            return None
        if len(rows) != len(records):
            return None
        if not self._known_ids.issuperset(map(_device, rows)) and not all(map(self._valid, map(_device, rows))):
            return None
        times = list(map(_recorded_at, rows))
        return rows if within.oldest <= min(times) and max(times) <= within.newest else None

    def _one_by_one(self, records: list[Record], within: Limits, decoded: Decoded) -> None:
        decode, known = self.record_type.decode, self._known_ids
        for record in records:
            try:
                row = astuple(decode(record.value))
            except (
                ValueError,
                TypeError,
                RecursionError,
            ):  # msgspec's errors are ValueErrors; TypeError: no value at all
                decoded.dead_letters.append(self._refuse(record, within))
                continue
            valid = row[DEVICE] in known or self._valid(row[DEVICE])
            if valid and within.oldest <= row[RECORDED_AT] <= within.newest:
                decoded.rows.append(row)
                decoded.records.append(record)
            else:
                decoded.dead_letters.append(self._refuse(record, within))

    def _valid(self, device_id: Any) -> bool:
        if not valid_id(device_id):
            return False
        if len(self._known_ids) >= KNOWN_IDS_LIMIT:
            self._known_ids.clear()
        self._known_ids.add(device_id)
        return True

    def _refuse(self, record: Record, limits: Limits) -> DeadLetter:
        verdict = self.record_type.refusal(record.value, limits)
        return DeadLetter(record, verdict.reason, str(verdict))


def _a_value_a_line(lines: bytes, values: int) -> bool:
    """Whether each of the joined values begins with { and ends with }, and none holds a line break.

    Then no JSON object can reach from one value into the next, for after } within an object no { may follow; so when there are
    as many objects as values, each value is one object.
    """
    between = values - 1
    return (
        lines.startswith(b"{")
        and lines.endswith(b"}")
        and lines.count(b"\n") == between
        and lines.count(b"}\n{") == between
    )
