"""What the evaluation of the fleet reads of its vehicles, batch by batch: fault states and energy sums.

Readers are sessions that read the next batches while the evaluation stores one. They also evaluate the vehicles whose fault does
not change; whatever else is written, only the session that holds the lock of maintenance writes it.
"""

from asyncio import Task, create_task, gather
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from itertools import cycle
from operator import itemgetter
from typing import Any, Final

import msgspec

from sql.maintenance.carried_sums import window_energy
from sql.maintenance.unchanged_faults import Round, evaluate_unchanged
from sql.queries import queries, vehicle_id_batches

VEHICLES_PER_BATCH: Final = 5_000
Connection = Any  # asyncpg.Connection
_vehicle_id = itemgetter("vehicle_id")


class Batch(msgspec.Struct, frozen=True):
    """The vehicles of a batch, and of those that have not been evaluated for the window yet: energy and stored fault states.

    `unchanged` is what `evaluate_unchanged` has returned. `carried` are the rows of energy that come from carried sums, `rest`
    the other ones. `states` has the rows of the query `fault_states` by vehicle.
    """

    vehicle_ids: list[str]
    unchanged: Any
    states: dict[str, Any]
    carried: list[Any]
    rest: list[Any]

    def energy(self) -> list[Any]:
        """All rows in the order of the vehicles' ids."""
        return sorted((*self.carried, *self.rest), key=_vehicle_id)

    def carried_to(self) -> float | None:
        """How far all of the carried sums go, in seconds since 1970; None: none was used."""
        ends = [self.unchanged["carried_to"], *(row["carried_to"] for row in self.carried)]
        return min((each for each in ends if each is not None), default=None)


async def read_batches(
    connection: Connection, current: Round, readers: Sequence[Connection]
) -> AsyncGenerator[Batch, None]:
    """All batches of the fleet in the order of their ids; each of the readers is one batch ahead.

    `connection` may be used between two batches. Without readers it reads the batches itself.
    """
    ahead: deque[Task[Batch]] = deque()
    turns = cycle(readers)
    try:
        async for vehicle_ids in vehicle_id_batches(connection, VEHICLES_PER_BATCH):
            if not readers:
                yield await _read(connection, vehicle_ids, current)
                continue
            read = None
            if len(ahead) == len(readers):  # the next reader in turn is the one that has read the oldest of them
                read = await ahead[0]
                ahead.popleft()
            ahead.append(create_task(_read(next(turns), vehicle_ids, current)))
            if read:
                yield read
        while ahead:
            read = await ahead[0]
            ahead.popleft()
            yield read
    finally:
        for each in ahead:
            each.cancel()
        await gather(*ahead, return_exceptions=True)


async def _read(connection: Connection, vehicle_ids: list[str], current: Round) -> Batch:
    unchanged = await evaluate_unchanged(connection, vehicle_ids, current)
    rows = queries.fault_states(connection, vehicle_ids=unchanged["others"], window_end=current.window.closes)
    states = {row["vehicle_id"]: row async for row in rows}
    return Batch(vehicle_ids, unchanged, states, *await window_energy(connection, list(states), current.window))
