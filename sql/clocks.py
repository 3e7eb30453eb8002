"""The clocks that decide what is old: the database's, this host's, and those of the devices (their newest reading).

The database's clock is the one that is used. Before data are deleted by age, it must agree with the two others.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sql.queries import queries

MOST_OFFSET: Final = timedelta(minutes=5)  # between the host and the database; readings may be as far ahead
# A fleet sends every minute. Without a reading for a week, either nothing is ingested or the database's clock is wrong.
MOST_AGE: Final = timedelta(days=7)
MOST_AHEAD: Final = timedelta(hours=1)  # consumers accept readings up to five minutes ahead


class ClocksDisagreeError(Exception):
    """The clocks disagree implausibly, so nothing may be deleted by its age."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """One reading of all clocks. `newest_reading` is None without readings."""

    host: datetime
    database: datetime
    newest_reading: datetime | None

    @property
    def offset(self) -> timedelta:
        """How far the database's clock is ahead of the host's."""
        return self.database - self.host

    @property
    def reading_age(self) -> timedelta | None:
        """Age of the newest reading by the database's clock; negative when the reading is ahead."""
        return self.database - self.newest_reading if self.newest_reading else None


async def read_offset(connection: Any) -> timedelta:
    """How far the database's clock is ahead of the host's, without a look at the readings."""
    begun = datetime.now(UTC)
    database: datetime = await queries.database_clock(connection)
    return database - (begun + (datetime.now(UTC) - begun) / 2)


async def read_clocks(connection: Any) -> Clocks:
    """The clocks now; the host's is taken in the middle of the query."""
    begun = datetime.now(UTC)
    row = await queries.newest_reading(connection)
    host = begun + (datetime.now(UTC) - begun) / 2
    return Clocks(host, row["database_clock"], row["newest_reading"])


def disagreement(clocks: Clocks) -> str | None:
    """What is implausible about the clocks; None when they agree."""
    if abs(clocks.offset) > MOST_OFFSET:
        return f"the database's clock says {_instant(clocks.database)}, this host's {_instant(clocks.host)}"
    age = clocks.reading_age
    if age is not None and not -MOST_AHEAD <= age <= MOST_AGE:
        newest = _instant(clocks.newest_reading or clocks.database)
        return f"the database's clock says {_instant(clocks.database)}, the newest reading is of {newest}"
    return None


async def require_agreeing_clocks(connection: Any) -> None:
    """Call this before deleting data by age.

    Raises:
        ClocksDisagreeError: the clocks disagree; its message has both.
    """
    if found := disagreement(await read_clocks(connection)):
        raise ClocksDisagreeError(f"{found}: nothing is deleted until they agree")


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
