"""Sums of each device that the evaluation of the fleet carries from minute to minute, so that it asks for nothing twice.

A window is made of three parts, and each is asked for in its own way:

    opens                    end of its hour                          carried up to late_before              closes
      | sums of the last n readings |        carried sums                     |      readings one by one       |

The first two parts are stored once an hour for each device, ahead of the first window that begins in that hour. The second part
is added to whenever late_before has moved: whatever comes for it later is marked as late. A device with a mark, or whose carried
sums are not there, is answered by `energy_of`; the answers are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

from sql.queries import queries

HOUR: Final = timedelta(hours=1)
# Sums are added to when they are so far behind late_before: seldom, because a row is written for it, and often enough that few
# readings are left to be read one by one.
BEHIND: Final = timedelta(minutes=5)
# For carrying what can wait: the next round continues. Each kind has a share of its own, because adding would leave nothing to
# what is due at the end of an hour: 60 shares of storing ahead suffice for a million vehicles.
ADDING_SECONDS: Final = 1.0
STORING_SECONDS: Final = 0.7
Connection = Any  # asyncpg.Connection


@dataclass(frozen=True, slots=True)
class Window:
    """The window [opens, closes), which opens with a whole minute, and how far sums may be carried."""

    opens: datetime
    closes: datetime
    late_before: datetime | None
    complete_before: datetime | None

    @property
    def hour(self) -> datetime:
        """The hour in which the window begins."""
        return self.opens.replace(minute=0)

    @property
    def carried_from(self) -> datetime:
        """No sums end earlier unless maintenance has stood still: they begin as sums of the hours that are rolled up."""
        return max(self.opens, (self.complete_before or self.opens) - HOUR)


async def begin_round(connection: Connection, opens: datetime, closes: datetime) -> Window:
    """Forget of the carried sums what late readings have changed."""
    await queries.forget_late_readings(connection)
    state = await queries.rollup_state(connection)
    return Window(opens, closes, state["late_before"], state["complete_before"])


async def window_energy(
    connection: Connection, vehicle_ids: Sequence[str], window: Window
) -> tuple[list[Any], list[Any]]:
    """The rows of `energy_of` for these vehicles: those from carried sums, and the other ones. Their order is not defined.

    The ids are in ascending order. Rows from carried sums have no `opens` and `closes`, which are the same for all.
    """
    if not vehicle_ids:
        return [], []
    carried = await carried_energy(connection, vehicle_ids, window)
    found = {row["vehicle_id"] for row in carried}
    rest = [each for each in vehicle_ids if each not in found]
    if not rest:
        return carried, []
    opens, closes = [window.opens] * len(rest), [window.closes] * len(rest)
    return carried, [row async for row in queries.energy_of(connection, vehicle_ids=rest, opens=opens, closes=closes)]


async def carried_energy(connection: Connection, vehicle_ids: Sequence[str], window: Window) -> list[Any]:
    """The rows of `energy_of` for those of these vehicles whose carried sums suffice."""
    async with connection.transaction():
        await queries.plan_for_these_vehicles(connection)
        rows = queries.window_energy_of(
            connection,
            vehicle_ids=vehicle_ids,
            hour=window.hour,
            opens=window.opens,
            closes=window.closes,
            carried_from=window.carried_from,
        )
        return [row async for row in rows]


class Carrying:
    """Carries the sums of a round's vehicles forward."""

    def __init__(self, connection: Connection, window: Window) -> None:
        self._connection, self._window = connection, window
        self._adding_left, self._storing_left = ADDING_SECONDS, STORING_SECONDS

    async def carry(self, vehicle_ids: list[str], carried_to: float | None, rest: Sequence[Any]) -> None:
        """Carry the sums of these vehicles, which were used up to `carried_to` (seconds since 1970; None: none was used).

        `rest` has rows of the vehicles whose carried sums did not suffice.
        """
        if not self._window.late_before:
            return
        if rest:
            left = [row["vehicle_id"] for row in rest]
            await self._store(left, await self._meters(left), self._window.hour)
            await self._add(left)
        began = monotonic()
        behind = 0.0 if carried_to is None else self._window.late_before.timestamp() - carried_to
        if behind >= (BEHIND if self._adding_left > 0 else 2 * BEHIND).total_seconds():
            await self._add(vehicle_ids)
        added = monotonic()
        if self._storing_left > 0:
            await self._store_ahead(vehicle_ids)
        self._adding_left -= added - began
        self._storing_left -= monotonic() - added

    async def _store_ahead(self, vehicle_ids: list[str]) -> None:
        """For windows that begin in the next hour, unless it was done already."""
        following = self._window.hour + HOUR
        if not await queries.is_carried(self._connection, vehicle_id=vehicle_ids[-1], hour=following):
            meter_ids = await self._meters(vehicle_ids)
            await self._store(vehicle_ids, meter_ids, following)
            await queries.forget_sums_before(
                self._connection, hour=self._window.hour, vehicle_ids=vehicle_ids, meter_ids=meter_ids
            )

    async def _store(self, vehicle_ids: list[str], meter_ids: list[str], hour: datetime) -> None:
        await queries.carry_vehicles(self._connection, device_ids=vehicle_ids, hour=hour)
        await queries.carry_meters(self._connection, device_ids=meter_ids, hour=hour)

    async def _add(self, vehicle_ids: list[str]) -> None:
        hours = [self._window.hour, self._window.hour + HOUR]
        await queries.carry_vehicles_on(self._connection, device_ids=vehicle_ids, hours=hours)
        await queries.carry_meters_on(self._connection, device_ids=await self._meters(vehicle_ids), hours=hours)

    async def _meters(self, vehicle_ids: list[str]) -> list[str]:
        opens, closes = self._window.opens, self._window.closes
        rows = queries.meters_of(self._connection, vehicle_ids=vehicle_ids, opens=opens, closes=closes)
        return [row["meter_id"] async for row in rows]
