"""Which devices are moved, in groups of vehicles and meters that were ever assigned to each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sql.queries import queries


@dataclass(frozen=True, slots=True)
class Selection:
    """Ids from `first` to `last`, or those that are listed; each of vehicles and of meters."""

    first: str | None = None
    last: str | None = None
    listed: Sequence[str] = ()


@dataclass(slots=True)
class Devices:
    """Vehicles and meters that are moved at the same time."""

    vehicles: list[str] = field(default_factory=list)
    meters: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.vehicles) + len(self.meters)

    def __str__(self) -> str:
        return f"{len(self.vehicles):,} vehicles and {len(self.meters):,} meters"

    def of(self, column: str) -> list[str]:
        """The ids that a column of this name can have."""
        return self.vehicles if column == "vehicle_id" else self.meters

    def add(self, other: "Devices") -> None:
        self.vehicles += other.vehicles
        self.meters += other.meters


async def selected_groups(connection: Any, selection: Selection) -> list[Devices]:
    """The selected devices that this database knows, with all that were ever assigned to them, in the order of their ids."""
    if selection.first is not None:
        period = {"first": selection.first, "last": selection.last}
        vehicles = [row["device"] async for row in queries.vehicles_between(connection, **period)]
        meters = [row["device"] async for row in queries.meters_between(connection, **period)]
    else:
        listed = list(selection.listed)
        vehicles = [row["device"] async for row in queries.vehicles_here(connection, vehicle_ids=listed)]
        meters = [row["device"] async for row in queries.meters_here(connection, meter_ids=listed)]
    return _groups(vehicles, meters, await _assignments(connection, vehicles, meters))


async def _assignments(connection: Any, vehicles: Sequence[str], meters: Sequence[str]) -> set[tuple[str, str]]:
    """All assignments that lead from these devices to others, and from those on."""
    found: set[tuple[str, str]] = set()
    new_vehicles, new_meters = set(vehicles), set(meters)
    seen_vehicles, seen_meters = set[str](), set[str]()
    while new_vehicles or new_meters:
        rows = queries.assigned_to(connection, vehicle_ids=list(new_vehicles), meter_ids=list(new_meters))
        found |= {(row["vehicle_id"], row["meter_id"]) async for row in rows}
        seen_vehicles |= new_vehicles
        seen_meters |= new_meters
        new_vehicles = {vehicle for vehicle, _ in found} - seen_vehicles
        new_meters = {meter for _, meter in found} - seen_meters
    return found


def _groups(vehicles: Sequence[str], meters: Sequence[str], assignments: set[tuple[str, str]]) -> list[Devices]:
    neighbours: dict[tuple[str, str], list[tuple[str, str]]] = {
        **{("vehicle_id", each): [] for each in vehicles},
        **{("meter_id", each): [] for each in meters},
    }
    for vehicle, meter in sorted(assignments):
        ends = ("vehicle_id", vehicle), ("meter_id", meter)
        neighbours.setdefault(ends[0], []).append(ends[1])
        neighbours.setdefault(ends[1], []).append(ends[0])
    groups, left = [], dict.fromkeys(sorted(neighbours, key=lambda device: device[1]))
    while left:
        group, waiting = Devices(), [next(iter(left))]
        del left[waiting[0]]
        while waiting:
            column, device = waiting.pop()
            group.of(column).append(device)
            for each in neighbours[column, device]:
                if each in left:
                    del left[each]
                    waiting.append(each)
        groups.append(group)
    return groups


def portions(groups: Sequence[Devices], size: int) -> Iterator[Devices]:
    """The groups together, up to `size` devices at a time; a group is never divided."""
    portion = Devices()
    for group in groups:
        if len(portion) and len(portion) + len(group) > size:
            yield portion
            portion = Devices()
        portion.add(group)
    if len(portion):
        yield portion
