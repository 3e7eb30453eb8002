"""records -> rows and dead letters. No record makes it raise, and none stops its neighbours."""

from aiokafka import ConsumerRecord

from consumer.batch import DeadLetter
from consumer.kind import DEVICE, RECORDED_AT, Kind, Row
from schemas.readings import Limits, TimeLimits, valid_id

KNOWN_IDS_LIMIT = 1_000_000


class Decoder:
    """Decodes one topic; remembers which ids it has found valid, which halves its work."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._known_ids: set[str] = set()

    def decode(
        self, records: list[ConsumerRecord], first_position: int, limits: TimeLimits
    ) -> tuple[list[Row], list[DeadLetter]]:
        """Rows of the records that are what the topic carries, and a dead letter for every other one.

        Args:
            records: of one topic, as Kafka gave them.
            first_position: of the first of them in its batch.
            limits: between which a reading's timestamp must lie, unless its kind has limits of its own.
        """
        rows: list[Row] = []
        dead_letters: list[DeadLetter] = []
        decode, row_of, known = self.kind.decode, self.kind.row, self._known_ids
        within = self.kind.limits or limits
        oldest, newest = within.oldest, within.newest
        for position, record in enumerate(records, first_position):
            try:
                row = row_of(decode(record.value), position)
            except (
                ValueError,
                TypeError,
                RecursionError,
            ):  # msgspec's errors are ValueErrors; TypeError: no value at all
                dead_letters.append(self._refuse(record, within))
                continue
            if (row[DEVICE] in known or self._valid(row[DEVICE])) and oldest <= row[RECORDED_AT] <= newest:
                rows.append(row)
            else:
                dead_letters.append(self._refuse(record, within))
        return rows, dead_letters

    def _valid(self, device_id: str) -> bool:
        if not valid_id(device_id):
            return False
        if len(self._known_ids) >= KNOWN_IDS_LIMIT:
            self._known_ids.clear()
        self._known_ids.add(device_id)
        return True

    def _refuse(self, record: ConsumerRecord, limits: Limits) -> DeadLetter:
        verdict = self.kind.refusal(record.value, limits)
        return DeadLetter(record, verdict.reason, str(verdict))
