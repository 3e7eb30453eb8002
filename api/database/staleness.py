"""How old a replica's answers may be: an upper bound, from the positions of two servers in one log.

The time of the last replayed commit alone does not say it: on a primary that is idle it gets older and older though nothing is
missing. So the primary is asked too, where its log ends. A replica that has replayed up to a position which the primary had at
some instant holds all that was committed at that instant, whatever the clocks of the servers say. When the primary cannot be
asked, the last replayed commit is what is left.
"""

from collections import deque
from typing import Final

REMEMBERED: Final = 3600  # positions of the primary: an hour of them, one a second


class ReplicaStaleness:
    """What is known of one replica. Instants are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._unconfirmed: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        self._current_as_of: float | None = None
        self._standby = True

    def primary_is(self, at: float, position: int) -> None:
        """The primary was asked at `at`; its log ended at `position` (bytes) or later."""
        self._unconfirmed.append((at, position))

    def replica_is(self, at: float, replayed: int | None, committed_ago: float | None) -> None:
        """The replica was asked at `at`: it had replayed up to `replayed` (bytes), a commit `committed_ago` seconds old."""
        self._standby = True
        if committed_ago is not None:
            self._confirm(at - max(0.0, committed_ago))
        while self._unconfirmed and replayed is not None and self._unconfirmed[0][1] <= replayed:
            self._confirm(self._unconfirmed.popleft()[0])

    def replica_is_primary(self) -> None:
        """The server is no standby, or no longer: nothing is missing there."""
        self._standby = False

    def forget(self) -> None:
        """The replica may be another server now."""
        self._current_as_of = None

    def staleness(self, now: float) -> float | None:
        """Seconds by which answers are older than the primary's at most; None when nothing is known."""
        if not self._standby:
            return 0.0
        return None if self._current_as_of is None else max(0.0, now - self._current_as_of)

    def _confirm(self, instant: float) -> None:
        self._current_as_of = max(instant, self._current_as_of if self._current_as_of is not None else instant)
