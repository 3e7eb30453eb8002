"""What the load sends, as data: the fleet of today, and a deterministic mixture that accompanies the mass of readings."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from tests.support.records import assignment, meter, register, vehicle

Topic = Literal["meter", "vehicle", "register", "assignment"]
MINUTE: Final = timedelta(minutes=1)
MINUTES_TODAY: Final = 181
VALID: Final = {
    "meterId": "METER-1", "kwhConsumedAc": 0.5, "voltage": 230,
    "vehicleId": "VEH-1", "kwhDeliveredDc": 0.4, "soc": 50, "batteryTemp": 20,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """A record to send. Declarations that concern one device go to one partition, so that their order is certain."""

    topic: Topic
    key: str
    value: bytes | None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A vehicle and the meter that it draws from; `ratio` is its efficiency in %, one reading in `every` minutes is sent."""

    name: str
    ratio: float
    every: int = 1

    @property
    def vehicle(self) -> str:
        return f"VEH-{self.name}"

    @property
    def meter(self) -> str:
        return f"METER-{self.name}"


PAIRS: Final = (
    Pair("SOUND", 95), Pair("WORN", 88), Pair("FAULTY", 80), Pair("FAULTY-2", 60), Pair("SPARSE", 80, every=2),
    Pair("ABOVE", 120), Pair("UNASSIGNED", 80), Pair("CORRECTED", 92), Pair("REGISTER", 91), Pair("MOVED", 84.5),
)  # fmt: skip
HEALED: Final = "VEH-FAULTY-2"
JUDGED: Final = tuple(each.vehicle for each in PAIRS)


def beginning(now: datetime) -> datetime:
    """The first minute of the fleet of today."""
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)


def today(start: datetime, now: datetime) -> Iterator[Message]:
    """Three hours of a small fleet, six hours ago: every status, every kind of assignment, every kind of invalid record."""
    yield from _declarations(start)
    for pair in PAIRS:
        yield from _readings(pair, start)
    yield from _registers(start)
    yield from _yesterday(now)
    yield from copies(start)
    yield from invalid_records(now)


def _declarations(start: datetime) -> Iterator[Message]:
    """Assignments that begin and end within an hour: closed, handed over, superseded, repeated, corrected, contradicting."""

    def declare(vehicle_id: str, meter_id: str, begins: int, ends: int | None = None) -> Message:
        end = start + ends * MINUTE if ends is not None else None
        return Message("assignment", vehicle_id, assignment(vehicle_id, meter_id, start + begins * MINUTE, end), 0)

    yield declare("VEH-SOUND", "METER-SOUND", 17, 137)
    yield declare("VEH-SOUND", "METER-SOUND", 17, 137)  # a duplicate
    yield declare("VEH-SOUND", "METER-WORN-B", 100, 150)  # contradicts the first
    yield declare("VEH-WORN", "METER-WORN", 20, 70)
    yield declare("VEH-WORN", "METER-WORN-B", 70, 140)
    yield declare("VEH-FAULTY", "METER-FAULTY", 10)
    yield declare("VEH-LATER", "METER-FAULTY", 131)  # ends the one before
    yield declare("VEH-FAULTY-2", "METER-FAULTY-2", 5, 170)
    yield declare("VEH-SPARSE", "METER-SPARSE", 17, 137)
    yield declare("VEH-ABOVE", "METER-ABOVE", 17, 137)
    yield declare("VEH-CORRECTED", "METER-SPARE", 30, 150)
    yield declare("VEH-CORRECTED", "METER-CORRECTED", 30, 150)  # a correction
    yield declare("VEH-REGISTER", "REG-REGISTER", 30, 150)
    yield declare("VEH-MOVED", "METER-MOVED", 17, 147)
    yield declare("VEH-MOVED", "METER-SILENT", 147, 149)  # which never sends
    yield declare("VEH-YESTERDAY", "METER-YESTERDAY", -60 * 40)
    yield Message("assignment", "VEH-BAD", assignment("VEH-BAD", "METER-BAD", start, start - MINUTE), 0)
    yield Message("assignment", "VEH-BAD", b'{"vehicleId": "VEH-BAD"}', 0)
    yield Message("assignment", "VEH-BAD", assignment("VEH BAD", "METER-BAD", start), 0)


def right_meter(start: datetime) -> Iterator[Message]:
    """Late readings of a meter with which the vehicle HEALED has 95 %."""
    for number in range(MINUTES_TODAY):
        kwh = (0.1 + number % 7 / 100) * 0.6 / 0.95
        yield Message("meter", "METER-RIGHT", meter("METER-RIGHT", start + number * MINUTE, kwh, voltage=228))


def correction(start: datetime) -> Message:
    """The declaration that assigns HEALED to that meter instead of the one it was declared to draw from."""
    begins, ends = start + 5 * MINUTE, start + 170 * MINUTE
    return Message("assignment", HEALED, assignment(HEALED, "METER-RIGHT", begins, ends), 0)


def _readings(pair: Pair, start: datetime) -> Iterator[Message]:
    """Readings at every full minute, so that some lie exactly on the ends of assignments."""
    meters = [pair.meter, "METER-WORN-B", "METER-SPARE"] if pair.name == "WORN" else [pair.meter]
    for number in range(0, MINUTES_TODAY, pair.every):
        at, kwh = start + number * MINUTE, 0.1 + number % 7 / 100
        if pair.name != "REGISTER":
            for meter_id in meters:
                yield Message("meter", meter_id, meter(meter_id, at, kwh, voltage=229 + number % 9 / 2))
        changes = {"soc": number % 101, "batteryTemp": 20 + number % 15 / 4}
        yield Message("vehicle", pair.vehicle, vehicle(pair.vehicle, at, kwh * pair.ratio / 100, **changes))


def _registers(start: datetime) -> Iterator[Message]:
    """A register that counts, falls within the jitter, is reset, is replaced by another meter's, and sends some readings late."""
    total, late = 500.0, []
    for number in range(MINUTES_TODAY):
        kwh = 0.1 + number % 7 / 100
        total = {60: kwh, 120: 90_000.0}.get(number, total + kwh)
        sent = total - 0.5 if number % 50 == 49 else total
        value = register("REG-REGISTER", start + number * MINUTE, sent, voltage=231 + number % 5)
        if number % 13 == 5:
            late.append(value)
        else:
            yield Message("register", "REG-REGISTER", value)
    for value in late:
        yield Message("register", "REG-REGISTER", value)
    yield Message("register", "REG-REGISTER", late[0])  # a duplicate
    yield Message("register", "REG-REGISTER", register("REG-REGISTER", start, 499.0, voltage=231))  # a conflict


def _yesterday(now: datetime) -> Iterator[Message]:
    """Readings on both sides of the instant that was 24 hours ago."""
    for number in range(200):
        at = (now - timedelta(hours=24)).replace(second=0, microsecond=0) + (number - 100) * MINUTE
        yield Message("meter", "METER-YESTERDAY", meter("METER-YESTERDAY", at, number / 1000))
        yield Message("vehicle", "VEH-YESTERDAY", vehicle("VEH-YESTERDAY", at, number / 2000))


def copies(at: datetime) -> Iterator[Message]:
    """A reading of each side, an equal copy in other words, and a copy that differs in the last field alone."""
    for name in ("METER-COPY", "VEH-COPY"):
        topic: Topic = "meter" if name.startswith("METER") else "vehicle"
        first = meter(name, at) if topic == "meter" else vehicle(name, at)
        members = json.loads(first)
        last = "voltage" if topic == "meter" else "batteryTemp"
        yield Message(topic, name, first)
        yield Message(topic, name, json.dumps(dict(reversed(members.items())) | {"firmware": "1.2"}, indent=1).encode())
        yield Message(topic, name, json.dumps(members | {last: members[last] + 1}).encode())


def invalid_records(now: datetime) -> Iterator[Message]:
    """Every kind of record that the contract refuses."""
    for topic in ("meter", "vehicle", "register"):
        for value in invalid_values(now):
            yield Message(topic, "INVALID", value)


def invalid_values(now: datetime) -> list[bytes | None]:
    """Values that no topic of readings accepts."""
    valid = VALID | {"timestamp": now.isoformat()}
    energies = ("kwhConsumedAc", "kwhDeliveredDc")
    changed: Iterable[dict[str, object]] = (
        {"timestamp": "yesterday"},
        {"timestamp": now.replace(tzinfo=None).isoformat()},
        {"timestamp": (now + timedelta(days=2)).isoformat()},
        {"timestamp": (now - timedelta(days=500)).isoformat()},
        {"timestamp": 5},
        dict.fromkeys(energies, -0.1),
        dict.fromkeys(energies, 2e9),
        dict.fromkeys(energies, "0.5"),
        dict.fromkeys(energies, True),
        dict.fromkeys(energies, float("nan")),
        {"meterId": "a b", "vehicleId": "a b"},
        {"meterId": "", "vehicleId": "x" * 65},
        {"meterId": None, "vehicleId": None},
    )
    values: list[bytes | None] = [
        None,
        b"",
        b"not JSON",
        b"[1]",
        b"{}",
        b'"text"',
        b"\xff\x00",
        json.dumps(VALID).encode(),
    ]
    return values + [json.dumps(valid | each).encode() for each in changed]


def mixture(minute: int, at: datetime, now: datetime) -> Iterator[Message]:
    """What comes with a minute of readings: late, repeated, conflicting, invalid ones and those of now; registers, assignments.

    Args:
        minute: its number, from 0.
        at: the time of the minute's readings.
        now: the real time.
    """
    device = minute % 50
    meter_id, vehicle_id = f"METER-{device}", f"VEH-{device}"
    late = at - timedelta(hours=2) + MINUTE / 2
    # VEH-NOW has no meter: it sends more than a reading a minute, not all of which have come when it would be judged.
    yield Message("meter", "METER-NOW", meter("METER-NOW", now, minute % 10 / 10))
    yield Message("vehicle", "VEH-NOW", vehicle("VEH-NOW", now, minute % 10 / 20, soc=minute % 101))
    yield Message("register", "REG-MASS", register("REG-MASS", at, 1000 + minute * 0.25, voltage=230 + minute % 7))
    match minute % 6:
        case 0:
            yield Message("meter", meter_id, meter(meter_id, late, 0.25, voltage=231))
        case 1:
            yield Message("vehicle", vehicle_id, vehicle(vehicle_id, late, 0.2, soc=33))
        case 2:
            yield Message("meter", meter_id, meter(meter_id, at, 0.987, voltage=1))  # a conflict
        case 3:
            yield Message("vehicle", vehicle_id, vehicle(vehicle_id, at, 0.987, soc=1))  # a conflict
        case 4:
            values = invalid_values(now)
            yield Message("meter", meter_id, values[minute // 6 % len(values)])
        case 5:
            yield from copies(at)
    if minute < 10:
        start = at - timedelta(hours=1)
        yield Message("assignment", vehicle_id, assignment(vehicle_id, meter_id, start), minute % 4)
        yield Message(
            "assignment", vehicle_id, assignment(vehicle_id, f"METER-{minute + 20}", start + 30 * MINUTE), minute % 4
        )
