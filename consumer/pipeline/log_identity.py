"""Which log a stored offset belongs to: reading begins again at the last record taken, which must come back unchanged.

stored:   last record        next offset          Kafka deletes from the beginning of a log alone, so there is no other record
log:    ... [r] [m] [m] [m]  [new] [new] ...      here (r) and none at the markers behind it (m), unless it is another log
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from consumer.records.record import Record, record_hash
from consumer.storage.offsets import LastRecord


class OtherLogError(Exception):
    """The log is not the one that the stored offset belongs to; the message says at which offset, for an operator."""

    def __init__(self, offset: int, finding: str) -> None:
        super().__init__(
            f"offset {offset} holds {finding}: the topic was recreated, or its log was truncated or compacted"
        )


@dataclass(frozen=True, slots=True)
class Rereading:
    """A partition whose client is still before the next offset, at `position`.

    The last record is `expected` there; None once it has come back, or where none has been taken yet: then only markers and
    aborted records may follow.
    """

    position: int
    expected: LastRecord | None

    @classmethod
    def after(cls, last: LastRecord) -> "Rereading":
        return cls(last.offset, None if last.hash is None else last)

    def proceed(self, fetched: Sequence[Record], position: int, next_offset: int) -> "Rereading | None":
        """Compare what the client has read up to a position; None when it is past the next offset and all was as before.

        Raises:
            OtherLogError
        """
        if position <= self.position:
            return self
        known = [record for record in fetched if record.offset < next_offset]
        if self.expected:
            found = known.pop(0) if known and known[0].offset == self.expected.offset else None
            if found is None:
                raise OtherLogError(self.expected.offset, "no record any more")
            if record_hash(found) != self.expected.hash:
                raise OtherLogError(found.offset, "another record than the one that was read there")
        if known:
            raise OtherLogError(known[0].offset, "a record that was not there before")
        return None if position >= next_offset else replace(self, position=position, expected=None)
