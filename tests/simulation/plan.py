"""The plan of one run, drawn from its seed: settings, what is produced when, and which faults happen when."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

PRODUCING_SECONDS: Final = 8.0
FIRST_INSTANT: Final = datetime.fromisoformat("2026-01-01T08:00:00+00:00")
LATE_INSTANT: Final = datetime.fromisoformat("2025-12-31T08:00:00+00:00")  # before the hours that are rolled up


class Reading(NamedTuple):
    """What the oracle knows of a record; `value` tells readings of one identity apart. Invalid ones have no identity."""

    device: str
    instant: datetime
    value: float
    valid: bool = True


class Produce(NamedTuple):
    """A record, or what belongs to a transaction (`producer`): see `action`."""

    at: float
    topic: str
    partition: int
    reading: Reading | None = None
    producer: int | None = None
    action: str = "record"  # or commit, abort, hole


class Fault(NamedTuple):
    """One fault: when it begins, how long it lasts (seconds), and what it hits."""

    at: float
    kind: str
    seconds: float = 0.0
    process: int = 0
    choice: int = 0
    partition: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run does. The order of events within it comes from the same seed."""

    seed: int
    partitions: dict[str, int]  # of each topic
    processes: int
    static_members: bool
    session_seconds: float
    check_seconds: tuple[
        float, float
    ]  # between reports of the lag, with commits to Kafka; between looks at stored offsets
    haste: float
    batch_records: int
    batch_wait_ms: int
    clock_offsets: tuple[float, ...]
    produced: tuple[Produce, ...]
    faults: tuple[Fault, ...] = field(default=())

    def with_faults(self, faults: tuple[Fault, ...]) -> "Plan":
        return replace(self, faults=faults)

    def with_produced(self, produced: tuple[Produce, ...]) -> "Plan":
        return replace(self, produced=produced)


# kind -> (weight, shortest and longest duration in seconds)
KINDS: Final[dict[str, tuple[int, float, float]]] = {
    "kill": (6, 0.2, 4.0),
    "stop": (3, 0.0, 2.0),
    "freeze": (6, 0.5, 14.0),
    "host lost": (2, 0.5, 4.0),
    "join": (3, 2.0, 8.0),
    "kafka cut off": (3, 0.5, 8.0),
    "kafka away": (2, 0.5, 6.0),
    "kafka error": (2, 0.0, 0.0),
    "leaderless": (2, 0.5, 8.0),
    "database crash": (3, 0.1, 5.0),
    "database silent": (3, 0.5, 12.0),
    "database slow": (3, 1.0, 8.0),
    "connections cut": (3, 0.0, 0.0),
    "commit lost": (6, 0.0, 0.0),
    "session terminated": (3, 0.0, 0.0),
    "statement error": (3, 0.0, 0.0),
    "retention": (1, 0.0, 0.0),
    "invalid records": (2, 0.0, 0.0),
    "failover": (3, 0.1, 4.0),
    "truncation": (2, 0.2, 3.0),
    "topic anew": (2, 6.0, 9.0),
    "open transaction": (2, 1.0, 8.0),
    "new partition": (1, 0.0, 3.0),
}
_NAMES: Final = list(KINDS)
_WEIGHTS: Final = [weight for weight, _, _ in KINDS.values()]


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = Random(seed)
    partitions = {"meters": rng.choice((1, 2, 2)), "vehicles": rng.choice((1, 1, 2))}
    processes = rng.choice((1, 2, 2, 3))
    faults = sorted((_fault(rng, processes) for _ in range(rng.randint(1, 5))), key=lambda each: each.at)
    return Plan(
        seed=seed,
        partitions=partitions,
        processes=processes,
        static_members=rng.random() < 0.2,
        session_seconds=rng.choice((3.0, 3.0, 6.0, 10.0)),
        check_seconds=rng.choice(((8.0, 2.0), (8.0, 2.0), (8.0, 2.0), (1.0, 1.0))),
        haste=rng.choice((0.0, 0.0, 0.1, 0.3)),
        batch_records=rng.choice((3, 10, 100)),
        clock_offsets=tuple(rng.choice((0.0, 0.0, -1.5, 1.5)) for _ in range(processes + 4)),
        produced=_produced(rng, partitions),
        faults=tuple(faults),
        batch_wait_ms=rng.choice((0, 0, 100)),
    )


def _fault(rng: Random, processes: int) -> Fault:
    kind = rng.choices(_NAMES, _WEIGHTS)[0]
    _, shortest, longest = KINDS[kind]
    return Fault(
        at=rng.uniform(0.3, PRODUCING_SECONDS),
        kind=kind,
        seconds=rng.uniform(shortest, longest),
        process=rng.randrange(processes),
        choice=rng.randrange(1000),
        partition=rng.randrange(4),
    )


def _produced(rng: Random, partitions: dict[str, int]) -> tuple[Produce, ...]:
    produced: list[Produce] = []
    places = [(topic, partition) for topic, count in partitions.items() for partition in range(count)]
    sent: dict[tuple[str, int], list[Reading]] = {place: [] for place in places}
    for number in range(rng.randint(4, 14)):
        at = rng.uniform(0.0, PRODUCING_SECONDS)
        topic, partition = place = rng.choice(places)
        dice = rng.random()
        in_transaction = dice < 0.25
        producer = number + 1
        for index in range(rng.choice((1, 2, 3, 6))):
            reading = _reading(rng, place, number * 10 + index, sent[place])
            sent[place].append(reading)
            produced.append(
                Produce(at + index * 0.002, topic, partition, reading, producer if in_transaction else None)
            )
        if in_transaction:
            end = at + rng.choice((0.05, 0.05, 1.0, 4.0))
            action = rng.choice(("commit", "commit", "abort"))
            produced.append(Produce(end, topic, partition, None, producer, action))
        elif dice < 0.35:
            produced.append(Produce(at + 0.1, topic, partition, action="hole"))
    return tuple(sorted(produced, key=lambda each: each.at))


def _reading(rng: Random, place: tuple[str, int], number: int, sent: list[Reading]) -> Reading:
    topic, partition = place
    dice = rng.random()
    valid = [each for each in sent if each.valid]
    if valid and dice < 0.12:
        return rng.choice(valid)  # a duplicate, also of a record in a transaction that is aborted
    if valid and dice < 0.18:
        other = rng.choice(valid)
        return Reading(other.device, other.instant, other.value + 0.5)  # a conflict
    if dice < 0.23:
        return Reading("", FIRST_INSTANT, float(number), valid=False)
    if dice < 0.28:  # a device that sends to all partitions of its topic
        return Reading(f"{topic}-roaming", FIRST_INSTANT + timedelta(minutes=rng.randrange(5)), 7.0)
    first = LATE_INSTANT if dice < 0.36 else FIRST_INSTANT
    minute = number if rng.random() < 0.8 else rng.randrange(200)
    return Reading(
        f"{topic}-{partition}-{rng.randrange(3)}", first + timedelta(minutes=minute, seconds=partition), number * 1.0
    )


def encode(topic: str, reading: Reading) -> bytes:
    """The value of the record of a reading."""
    if not reading.valid:
        return b'{"broken":' + str(reading.value).encode()
    value: dict[str, Any] = {"timestamp": reading.instant}
    if topic == "meters":
        value |= {"meterId": reading.device, "kwhConsumedAc": reading.value, "voltage": 230.0}
    else:
        value |= {"vehicleId": reading.device, "kwhDeliveredDc": reading.value, "soc": 50.0, "batteryTemp": 20.0}
    return msgspec.json.encode(value)
