"""Which cell answers a request: the one that has the device, or all of them."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from api.archive.months import Archive
from api.database.routing import ReadRouter
from api.problems import DATABASE_UNAVAILABLE, Overloaded, Unavailable
from sql.queries import queries

Answer = TypeVar("Answer")
ONLY: Final = ""  # the name of the cell when there is one
NEVER: Final = datetime.min.replace(tzinfo=UTC)
# Errors of one cell that leave the other cells' answers usable.
UNAVAILABLE: Final = (Unavailable, Overloaded, *DATABASE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Cell:
    """One database, and the months that were dropped from it. `is_up` tells without I/O whether the database responds."""

    name: str
    database: ReadRouter
    archive: Archive
    is_up: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Answers(Generic[Answer]):
    """The answer of each cell by its name, and the names of the cells that gave none."""

    parts: Mapping[str, Answer]
    unavailable: list[str]


def merge_rows(
    answers: Answers[list[Any]],
    key: Callable[[Any], Any],
    *,
    limit: int,
    descending: bool = False,
    device: str | None = None,
) -> list[Any]:
    """The first rows of all cells together; each cell's rows are in the order of `key` already.

    `device`: the column with the device's id. Of a device that is in two cells, while it is moved, the first row counts.
    """
    rows: Iterator[Any] = heapq.merge(*answers.parts.values(), key=key, reverse=descending)
    if device and len(answers.parts) > 1:
        rows = _once(rows, device)
    return list(islice(rows, limit))


def _once(rows: Iterator[Any], column: str) -> Iterator[Any]:
    listed = set()
    for row in rows:
        if row[column] not in listed:
            listed.add(row[column])
            yield row


class Cells:
    """All cells of the fleet, in the order of the setting."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = {cell.name: cell for cell in cells}

    @property
    def are_several(self) -> bool:
        return len(self._cells) > 1

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells.values())

    async def ask(self, question: Callable[[Cell], Coroutine[Any, Any, Answer]]) -> Answers[Answer]:
        """The answers of all cells, which are asked at the same time.

        Raises:
            Unavailable, Overloaded: no cell answered; of several cells the error of the first one.
        """
        cells = list(self._cells.values())
        if not self.are_several:
            return Answers({cells[0].name: await question(cells[0])}, [])
        results = await asyncio.gather(*(_ask(cell, question) for cell in cells), return_exceptions=True)
        answers = dict(zip(self._cells, results, strict=True))
        errors = {name: each for name, each in answers.items() if isinstance(each, BaseException)}
        for error in errors.values():
            if not isinstance(error, UNAVAILABLE):
                raise error
        if len(errors) == len(cells):
            raise next(iter(errors.values()))
        return Answers({name: each for name, each in answers.items() if name not in errors}, list(errors))  # type: ignore[misc]

    async def rows(self, query: Callable[[Any], Any]) -> Answers[list[Any]]:
        """The rows of a query in each cell; the query is called with a connection. Raises the same as `ask`."""

        async def read(cell: Cell) -> list[Any]:
            async with cell.database.acquire() as connection:
                return [row async for row in query(connection)]

        return await self.ask(read)

    async def of_vehicle(self, vehicle_id: str) -> Cell:
        """The cell of a vehicle; any cell if none of them knows it.

        Raises:
            Unavailable: no cell that responds knows the vehicle, and some do not respond.
        """
        return await self._home(partial(queries.known_vehicles, vehicle_ids=[vehicle_id]), f"vehicle {vehicle_id}")

    async def of_meter(self, meter_id: str) -> Cell:
        """The cell of a meter, as `of_vehicle`."""
        return await self._home(partial(queries.known_meters, meter_ids=[meter_id]), f"meter {meter_id}")

    async def _home(self, known: Callable[[Any], Any], device: str) -> Cell:
        first = next(iter(self._cells.values()))
        if not self.are_several:
            return first

        answers = await self.rows(known)
        found = {name: rows[0]["recorded_at"] or NEVER for name, rows in answers.parts.items() if rows}
        if found:  # in several while it is moved from one to another
            return self._cells[max(found, key=found.__getitem__)]
        if answers.unavailable:
            raise Unavailable(f"{_names(answers.unavailable)}, and no other cell knows {device}; try again")
        return first


async def _ask(cell: Cell, question: Callable[[Cell], Awaitable[Answer]]) -> Answer:
    if not cell.is_up():
        raise Unavailable(f"the cell {cell.name} does not respond; try again")
    return await question(cell)


def _names(unavailable: Sequence[str]) -> str:
    cells = "cells" if len(unavailable) > 1 else "the cell"
    return f"{cells} {', '.join(unavailable)} {'do' if len(unavailable) > 1 else 'does'} not respond"
