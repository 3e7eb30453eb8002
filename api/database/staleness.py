"""Upper bound of how far a replica is behind its primary, from the write-ahead log (WAL) positions of both servers.

The age of the last replayed commit is not enough: while the primary is idle, that age grows although the replica misses nothing.
So the end of the primary's WAL is queried as well. A replica that has replayed up to a position which the primary had reached at
some instant contains everything that was committed before that instant, whatever the clocks of the servers show. While the
primary cannot be reached, the age of the last replayed commit is the only bound.

Positions are comparable within one history of the WAL. A position that goes back, on the primary or from the replica to the
primary, shows that another server has become the primary (a failover that lost the end of the WAL, a restore), so what was
recorded before is discarded.
"""

from collections import deque
from typing import Final

MAX_POSITIONS: Final = 3600  # of the primary: one hour at one position a second


class ReplicaStaleness:
    """The staleness of one replica. Instants are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._unreplayed: deque[tuple[float, int]] = deque(maxlen=MAX_POSITIONS)
        self._end = 0  # of the primary's WAL, when it was last queried
        self._replayed = 0
        self._foreign: int | None = None  # where a replica of another history than the primary's stands, until it moves
        self._current_as_of: float | None = None
        self._is_standby = True

    def record_primary(self, at: float, position: int) -> None:
        """The primary was queried at `at`, and the end of its WAL was at `position` (bytes) or later.

        To be called before `record_replica` with the position that the replica reports at the same time.
        """
        if position < self._replayed:
            self._foreign = self._replayed
        if position < max(self._end, self._replayed):
            self._unreplayed.clear()
            self.reset()
        self._end = position
        if self._foreign is None:
            self._unreplayed.append((at, position))

    def record_replica(self, at: float, replayed: int | None, committed_ago: float | None) -> None:
        """The replica was queried at `at`.

        Args:
            at: when the query was sent.
            replayed: the WAL position that it had replayed (bytes).
            committed_ago: the age of the last replayed commit (seconds).
        """
        self._is_standby = True
        self._replayed = replayed or 0
        if self._replayed != self._foreign:
            self._foreign = None
        if committed_ago is not None:
            self._advance(at - max(0.0, committed_ago))
        while self._unreplayed and self._unreplayed[0][1] <= self._replayed:
            self._advance(self._unreplayed.popleft()[0])

    def record_promotion(self) -> None:
        """The server is a primary itself, so nothing is missing there."""
        self._is_standby = False

    def reset(self) -> None:
        """Discards the bound: after an outage the replica may be another server."""
        self._current_as_of = None

    def seconds(self, now: float) -> float | None:
        """Upper bound in seconds by which the replica is behind the primary; None while unknown."""
        if not self._is_standby:
            return 0.0
        return None if self._current_as_of is None else max(0.0, now - self._current_as_of)

    def _advance(self, instant: float) -> None:
        self._current_as_of = max(instant, self._current_as_of if self._current_as_of is not None else instant)
