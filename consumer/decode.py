"""records -> rows and dead letters. No record makes it raise, and none stops its neighbours."""

from aiokafka import ConsumerRecord

from consumer.batch import DeadLetter
from consumer.telemetry import DEVICE, RECORDED_AT, Row, Telemetry
from schemas.readings import TimeLimits, refusal, valid_id

KNOWN_IDS_LIMIT = 1_000_000


class Decoder:
    """Decodes one topic; remembers which ids it has found valid, which halves its work."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self._known_ids: set[str] = set()

    def decode(
        self, records: list[ConsumerRecord], first_position: int, limits: TimeLimits
    ) -> tuple[list[Row], list[DeadLetter]]:
        """Rows of the readings, and a dead letter for every other record.

        Args:
            records: of one topic, as Kafka gave them.
            first_position: of the first of them in its batch.
            limits: between which a reading's timestamp must lie.
        """
        rows: list[Row] = []
        dead_letters: list[DeadLetter] = []
        decode, row_of, known = self.telemetry.decode, self.telemetry.row, self._known_ids
        oldest, newest = limits.oldest, limits.newest
        for position, record in enumerate(records, first_position):
            try:
                row = row_of(decode(record.value), position)
            except (
                ValueError,
                TypeError,
                RecursionError,
            ):  # msgspec's errors are ValueErrors; TypeError: no value at all
                dead_letters.append(self._refuse(record, limits))
                continue
            if (row[DEVICE] in known or self._valid(row[DEVICE])) and oldest <= row[RECORDED_AT] <= newest:
                rows.append(row)
            else:
                dead_letters.append(self._refuse(record, limits))
        return rows, dead_letters

    def _valid(self, device_id: str) -> bool:
        if not valid_id(device_id):
            return False
        if len(self._known_ids) >= KNOWN_IDS_LIMIT:
            self._known_ids.clear()
        self._known_ids.add(device_id)
        return True

    def _refuse(self, record: ConsumerRecord, limits: TimeLimits) -> DeadLetter:
        verdict = refusal(self.telemetry.reading, record.value, limits)
        return DeadLetter(record, verdict.reason, str(verdict))
