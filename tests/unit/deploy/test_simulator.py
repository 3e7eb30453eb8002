"""The simulated fleet: real sessions, exact totals, and anomalies that leave the totals unchanged."""

import io
import itertools
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from math import fsum

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.simulator.anomalies import AnomalyInjector, AnomalyShares
from deploy.simulator.charging import SLOT_MINUTES, charge_in, state_at
from deploy.simulator.corruptions import CORRUPTIONS, corrupted
from deploy.simulator.days import equal_days
from deploy.simulator.fleet import (
    CHARGER_LIFE_DAYS,
    DAY_MINUTES,
    Fleet,
    assignments,
    efficiency_on,
    is_aging,
    is_faulty,
    vehicle,
    write_assignments,
)
from deploy.simulator.readings import EPOCH, Record, RecordType, assignment_record, milliseconds
from deploy.simulator.sessions import charged_share, real_sessions
from deploy.simulator.timetable import Clock, clock_from, due, timetable
from deploy.simulator.totals import expected_totals
from schemas.records.assignments import decode_assignment
from schemas.records.readings import InvalidReading, Reason, TimeLimits, parse_meter, parse_vehicle
from sql.assign import read_assignments
from tests.support.simulator import replay
from tests.support.simulator.disturbances import doubled, shuffled, with_malformed

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LIMITS = TimeLimits.at(NOW, 400)
FLEET = Fleet(20)


def minutes_of(fleet: Fleet, start: datetime, minutes: int) -> list[Record]:
    return list(due(timetable(fleet), milliseconds(start), milliseconds(start + timedelta(minutes=minutes))))


def test_the_file_contains_the_992_real_sessions() -> None:
    sessions = real_sessions()
    assert len(sessions) == 992
    assert {session.plug for session in sessions} == {"CCS1", "CCS2"}
    assert all(session.minutes > 0 and session.energy_kwh > 0 for session in sessions)


def test_a_sessions_cumulative_energy_rises_from_zero_to_its_total() -> None:
    for session in real_sessions():
        shares = [charged_share(session, minute) for minute in range(session.minutes + 1)]
        assert (shares[0], shares[-1]) == (0, 1)
        assert shares == sorted(shares)


def test_ids_follow_the_contract() -> None:
    assert (vehicle(Fleet(), 1).vehicle_id, vehicle(Fleet(), 10_000).meter_id) == ("VEH-001", "METER-10000")


def test_each_device_sends_one_reading_a_minute_spread_over_the_minute() -> None:
    sent = minutes_of(FLEET, NOW, 5)
    assert Counter(record.key for record in sent) == dict.fromkeys(
        [
            key
            for number in range(1, 21)
            for key in (vehicle(FLEET, number).meter_key, vehicle(FLEET, number).vehicle_key)
        ],
        5,
    )
    assert [record.at_ms for record in sent] == sorted(record.at_ms for record in sent)
    phases = sorted({record.at_ms % 60_000 for record in sent})
    assert len(phases) == 20
    assert max(later - earlier for earlier, later in itertools.pairwise(phases)) < 2 * 60_000 / 20 + 1000


@settings(deadline=None)
@given(st.lists(st.integers(0, 300_000), min_size=2, max_size=8).map(sorted))
def test_adjacent_windows_neither_miss_nor_repeat_a_reading(cuts: list[int]) -> None:
    table, start = timetable(FLEET), milliseconds(NOW)
    pieces = [
        record for opens, closes in itertools.pairwise(cuts) for record in due(table, start + opens, start + closes)
    ]
    assert pieces == list(due(table, start + cuts[0], start + cuts[-1]))


def test_every_reading_of_a_day_is_within_the_contracts_limits() -> None:
    for record in minutes_of(Fleet(3), NOW - timedelta(days=1), 1440):
        assert record.value
        (parse_meter if record.record_type is RecordType.METER else parse_vehicle)(record.value, LIMITS)


def test_state_of_charge_rises_only_while_charging_and_falls_only_while_driving() -> None:
    one = vehicle(Fleet(), 7)
    first = NOW.toordinal() * 1440
    states = [state_at(one, minute) for minute in range(first, first + 2 * 1440)]
    for before, after in itertools.pairwise(states):
        if after.ac_kwh:
            assert after.soc >= before.soc
        else:
            assert after.soc <= before.soc
    assert 0 < sum(state.ac_kwh > 0 for state in states) < len(states)


@given(st.integers(1, 10_000), st.integers(-5, 5))
def test_a_slot_contains_exactly_one_complete_real_session(number: int, slot: int) -> None:
    charge = charge_in(1, number, slot)
    assert slot * SLOT_MINUTES <= charge.start < charge.end <= (slot + 1) * SLOT_MINUTES
    assert charge.session in real_sessions()


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(0, 59_999), st.integers(0, 59_999))
def test_expected_totals_equal_those_of_the_readings_sent(number: int, opens_ms: int, closes_ms: int) -> None:
    start, end = NOW - timedelta(hours=6, milliseconds=opens_ms), NOW + timedelta(milliseconds=closes_ms)
    one = vehicle(FLEET, number)
    sums: defaultdict[bytes, list[float]] = defaultdict(list)
    for record in due(timetable(FLEET), milliseconds(start), milliseconds(end)):
        fields = msgspec.json.decode(record.value or b"")
        sums[record.key].append(fields.get("kwhConsumedAc", fields.get("kwhDeliveredDc")))

    totals = expected_totals(number, start, end, FLEET)

    assert totals.points == len(sums[one.vehicle_key]) == len(sums[one.meter_key])
    assert totals.ac_kwh == pytest.approx(fsum(sums[one.meter_key]), rel=1e-12)
    assert totals.dc_kwh == pytest.approx(fsum(sums[one.vehicle_key]), rel=1e-12)


def test_faulty_chargers_lose_more_than_the_threshold_and_others_less() -> None:
    fleet = Fleet(2_000, faulty_share=0.02)
    faulty = [number for number in range(1, 2_001) if is_faulty(fleet, number)]
    assert 20 <= len(faulty) <= 60
    assert all(vehicle(fleet, number).efficiency < 0.85 for number in faulty)
    assert all(vehicle(fleet, number).efficiency >= 0.9 for number in set(range(1, 2_001)) - set(faulty))
    assert not any(is_faulty(Fleet(faulty_share=0), number) for number in range(1, 2_001))


def test_the_import_reads_the_assignments_file() -> None:
    file = io.StringIO()
    write_assignments(assignments(FLEET), file)
    read = read_assignments(file.getvalue().splitlines())
    assert [(each.vehicle_id, each.meter_id) for each in read[:2]] == [
        ("VEH-001", "METER-001"),
        ("VEH-002", "METER-002"),
    ]
    assert len(read) == 20


def test_the_consumer_decodes_assignment_records() -> None:
    given = list(assignments(FLEET))
    read = [decode_assignment(assignment_record(each).value or b"") for each in given]
    assert [(each.vehicle_id, each.meter_id, each.valid_from, each.valid_to) for each in read] == given


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
@pytest.mark.parametrize("record_type", [RecordType.METER, RecordType.VEHICLE])
def test_each_corruption_is_rejected_with_its_reason_code(corruption: object, record_type: RecordType) -> None:
    good = next(record for record in minutes_of(FLEET, NOW, 1) if record.record_type is record_type)
    bad = corrupted(good, corruption)  # type: ignore[arg-type]
    with pytest.raises(InvalidReading) as refused:
        (parse_meter if record_type is RecordType.METER else parse_vehicle)(bad.value or b"", LIMITS)
    assert refused.value.reason == corruption.reason  # type: ignore[attr-defined]
    assert bad.key == good.key


def test_the_corruptions_cover_every_reason_code_of_decoding() -> None:
    of_the_store = {Reason.CONFLICTING_READING, Reason.REFUSED_BY_DATABASE}
    of_the_consumer = {Reason.TOO_LARGE, Reason.INTERNAL_ERROR}  # its limit, and its own defects
    of_assignments = {Reason.INVALID_INTERVAL, Reason.OVERLAPPING_ASSIGNMENT}
    of_formats = {Reason.INVALID_FRAME, Reason.INVALID_ENCODING, Reason.UNKNOWN_SCHEMA, Reason.INCOMPATIBLE_SCHEMA}
    others = of_the_store | of_the_consumer | of_assignments | of_formats
    assert {corruption.reason for corruption in CORRUPTIONS} == set(Reason) - others


def test_anomalies_neither_lose_nor_alter_a_reading() -> None:
    sent = minutes_of(FLEET, NOW, 60)
    injector = AnomalyInjector(AnomalyShares(duplicate=0.1, late=0.1, out_of_order=0.1, malformed=0.1), seed=1)

    got = [*injector.apply(iter(sent)), *injector.drain()]

    counted, good = Counter(got), set(sent)
    assert all(counted[record] in {1, 2} for record in sent)
    assert sum(counted[record] for record in good) == len(sent) + injector.counts.duplicates
    assert sum(number for record, number in counted.items() if record not in good) == injector.counts.malformed
    for happened in (
        injector.counts.duplicates,
        injector.counts.late,
        injector.counts.out_of_order,
        injector.counts.malformed,
    ):
        assert 0.05 * len(sent) < happened < 0.15 * len(sent)
    assert got != sorted(got, key=lambda record: record.at_ms)


def test_without_anomalies_the_stream_is_unchanged() -> None:
    sent = minutes_of(FLEET, NOW, 2)
    injector = AnomalyInjector(AnomalyShares(), seed=1)
    assert [*injector.apply(sent), *injector.drain()] == sent


def test_disturbed_lists_have_a_known_outcome() -> None:
    sent = minutes_of(FLEET, NOW, 30)
    twice = doubled(sent)
    mixed = with_malformed(shuffled(twice, seed=4), share=0.01, seed=5)

    bad = Counter(each.record for each in mixed.malformed)
    assert len(mixed.malformed) == round(0.01 * len(twice))
    assert Counter(mixed.records) - bad == Counter(twice)
    ahead = 0
    for record in mixed.records:
        assert ahead - record.at_ms < 600_000
        ahead = max(ahead, record.at_ms)


def test_the_replay_moves_all_sessions_as_one_block_and_keeps_their_totals() -> None:
    visits = replay.visits(NOW)
    sent = replay.readings(visits)
    assert len({(record.key, record.at_ms) for record in sent}) == len(sent)
    assert max(record.at_ms for record in sent) == milliseconds(NOW)
    by_plug: defaultdict[bytes, list[float]] = defaultdict(list)
    for record in sent:
        if record.record_type is RecordType.METER:
            by_plug[record.key].append(msgspec.json.decode(record.value or b"")["kwhConsumedAc"])
    for plug in ("CCS1", "CCS2"):
        from_file = fsum(session.energy_kwh for session in real_sessions() if session.plug == plug)
        assert fsum(by_plug[plug.encode()]) == pytest.approx(from_file, rel=1e-9)
        assert replay.expected_plugs(visits)[plug].ac_kwh == pytest.approx(from_file, rel=1e-9)
    spans = {(visit.valid_from - NOW) - (visit.session.arrival.replace(tzinfo=UTC) - NOW) for visit in visits}
    assert len(spans) == 1, "every session is moved by the same time"


def test_a_sped_up_clock_reaches_the_wall_clock_and_never_passes_it() -> None:
    wall = milliseconds(NOW)
    clock = clock_from(wall, 60, 60)
    assert clock.start_ms == wall - 59 * 60_000
    assert clock.at(wall + 30_000) == clock.start_ms + 30 * 60_000
    assert clock.at(wall + 60_000) == wall + 60_000
    assert clock.at(wall + 90_000) == wall + 90_000
    assert clock_from(wall, 1, None) == Clock(wall, wall, 1)


def test_a_fleet_with_a_routine_repeats_its_days_and_only_aging_chargers_change() -> None:
    fleet, day = Fleet(40, aging_share=0.2, routine_days=2), NOW.toordinal() - EPOCH.toordinal()
    vehicles = [vehicle(fleet, number) for number in range(1, 41)]
    assert {one.charger_age_days is None for one in vehicles} == {True, False}
    for one in vehicles:
        today, repeated, next_day = (
            [state_at(one, each * DAY_MINUTES + minute) for minute in range(0, DAY_MINUTES, 7)]
            for each in (day, day + 2, day + 1)
        )
        assert [state._replace(dc_kwh=0) for state in today] == [state._replace(dc_kwh=0) for state in repeated]
        assert (today == repeated) == (one.charger_age_days is None)
        assert today != next_day


def test_an_aging_charger_loses_efficiency_until_it_is_replaced_and_is_never_faulty() -> None:
    fleet = Fleet(500, aging_share=0.1)
    aging = [vehicle(fleet, number) for number in range(1, 501) if is_aging(fleet, number)]
    assert 25 <= len(aging) <= 75
    for one in aging:
        efficiencies = [efficiency_on(one, day) for day in range(20_000, 20_000 + CHARGER_LIFE_DAYS)]
        falls = [earlier - later for earlier, later in itertools.pairwise(efficiencies)]
        assert min(efficiencies) > 0.85
        assert sum(fall < -0.05 for fall in falls) <= 1, "it was replaced once at most"
        month = [later - earlier for earlier, later in zip(efficiencies, efficiencies[30:], strict=False)]
        assert sum(change < 0 for change in month) >= len(month) - 31
    assert not any(is_aging(Fleet(500), number) for number in range(1, 501))


@pytest.mark.parametrize("routine_days", [None, 1, 2])
def test_equal_days_are_all_days_of_a_vehicle_with_its_states(routine_days: int | None) -> None:
    fleet = Fleet(40, aging_share=0.2, routine_days=routine_days)
    days = [NOW.date() + timedelta(days=number) for number in range(4)]
    for one in (
        vehicle(fleet, 1),
        next(v for n in range(1, 41) if (v := vehicle(fleet, n)).charger_age_days is not None),
    ):
        found = list(equal_days(one, days))
        assert sorted(day for equal in found for day in equal.days) == days
        for equal in found:
            for day in equal.days:
                first = milliseconds(datetime(day.year, day.month, day.day, tzinfo=UTC)) // 60_000
                assert list(equal.states) == [state_at(one, first + minute) for minute in range(DAY_MINUTES)]
