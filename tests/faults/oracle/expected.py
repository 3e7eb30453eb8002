"""Kafka's log, record by record in the order of arrival -> what must be stored, counted and answered."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.faults.oracle.assignments import Assignment, Assignments
from tests.faults.oracle.decode import (
    Declaration,
    Reading,
    Refused,
    Window,
    decode_declaration,
    decode_meter,
    decode_register,
    decode_vehicle,
)
from tests.faults.oracle.log import LogRecord, TopicNames
from tests.faults.oracle.registers import intervals

RETENTION: Final = timedelta(days=400)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ANY: Final[frozenset[str]] = frozenset()
LARGEST: Final = 1_048_576  # bytes of a value
TOO_LARGE: Final = frozenset({"too_large"})
Readings = dict[tuple[str, datetime], Reading]
Series = list[tuple[datetime, tuple[float, ...]]]  # of one device, in the order of its clock


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: the record, and the reason codes of which it must have one."""

    record: LogRecord
    reasons: frozenset[str]


@dataclass(slots=True)
class Expected:
    """What the log means.

    `outcomes` counts the records of each topic and partition by what became of them: written, duplicate or dead_letter.
    `meters` and `vehicles` hold every reading that counts, by device; the energy of a meter's register is among them as the
    interval that it ends.
    """

    stored: dict[str, Readings] = field(default_factory=lambda: {"meter": {}, "vehicle": {}, "register": {}})
    derived: dict[tuple[str, datetime], tuple[float, float]] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    outcomes: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    declarations: int = 0
    assignments: list[Assignment] = field(default_factory=list)
    meters: dict[str, Series] = field(default_factory=dict)
    vehicles: dict[str, Series] = field(default_factory=dict)


def expect(
    log: Iterable[LogRecord],
    topics: TopicNames,
    rejects: Callable[[Reading], bool],
    now: datetime,
    read_again: Iterable[LogRecord] = (),
) -> Expected:
    """Take each record of the log in turn. `rejects` says which readings the database has been set up to refuse.

    A record that is read again is a duplicate, whatever became of it before.
    """
    expected, assignments, window = Expected(), Assignments(), Window.at(now, RETENTION)
    kinds = {topics.meter: "meter", topics.vehicle: "vehicle", topics.register: "register"}
    decoders = {topics.meter: decode_meter, topics.vehicle: decode_vehicle, topics.register: decode_register}
    for record in log:
        if len(record.value or b"") > LARGEST:
            _take(expected, record, Refused(TOO_LARGE))
        elif record.topic == topics.assignment:
            _take(expected, record, _declare(assignments, decode_declaration(record.value)))
        else:
            reading = decoders[record.topic](record.value, window)
            _take(expected, record, _store(expected.stored[kinds[record.topic]], reading, rejects))
    expected.outcomes.update((each.topic, each.partition, "duplicate") for each in read_again)
    expected.declarations, expected.assignments = assignments.accepted, assignments.valid()
    _derive(expected)
    return expected


def _take(expected: Expected, record: LogRecord, outcome: str | Refused) -> None:
    if isinstance(outcome, Refused):
        expected.letters.append(Letter(record, outcome.reasons))
        outcome = "dead_letter"
    expected.outcomes[(record.topic, record.partition, outcome)] += 1
    expected.next_offsets[(record.topic, record.partition)] = record.offset + 1


def _declare(assignments: Assignments, declaration: Declaration | Refused) -> str | Refused:
    if isinstance(declaration, Refused):
        return declaration
    outcome = assignments.declare(declaration)
    return Refused(frozenset({"overlapping_assignment"})) if outcome == "overlap" else outcome


def _store(readings: Readings, reading: Reading | Refused, rejects: Callable[[Reading], bool]) -> str | Refused:
    """The first reading of an identity is kept; an equal one is a duplicate, another one a conflict."""
    if isinstance(reading, Refused):
        return reading
    if rejects(reading):
        return Refused(frozenset({"refused_by_database"}))
    first = readings.setdefault((reading.device, reading.at), reading)
    if first is reading:
        return "written"
    return "duplicate" if first == reading else Refused(frozenset({"conflicting_reading"}))


def _derive(expected: Expected) -> None:
    """Fill `derived`, `meters` and `vehicles` from what is stored."""
    registers = _by_device(expected.stored["register"])
    for meter, series in registers.items():
        energies = intervals((at, values[0]) for at, values in series)
        for (at, kwh), (_, (_, voltage)) in zip(energies, series, strict=True):
            expected.derived[(meter, at)] = kwh, voltage
    sent = {key: reading.values for key, reading in expected.stored["meter"].items()}
    expected.meters = _series(expected.derived | sent)
    expected.vehicles = _by_device(expected.stored["vehicle"])


def _by_device(readings: Readings) -> dict[str, Series]:
    return _series({key: reading.values for key, reading in readings.items()})


def _series(values: Mapping[tuple[str, datetime], tuple[float, ...]]) -> dict[str, Series]:
    found: defaultdict[str, Series] = defaultdict(list)
    for (device, at), each in values.items():
        found[device].append((at, each))
    return {device: sorted(series) for device, series in found.items()}


def within(series: Series, opens: datetime, closes: datetime) -> Series:
    """The readings of [opens, closes)."""
    return series[bisect_left(series, (opens,)) : bisect_left(series, (closes,))]


def hour_of(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)


def kafka_time(milliseconds: int) -> datetime | None:
    """The instant of a Kafka timestamp, None for -1 (no timestamp) and outside of the years 1 to 9999."""
    if milliseconds == -1:
        return None
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
