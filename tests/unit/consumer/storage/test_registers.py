"""Stretches of new register readings, from each of which the database derives intervals at once."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from consumer.records.decode import Decoder
from consumer.storage.registers import MAX_GAP_IN_STRETCH, stretch_rounds
from consumer.topic_registry import register_readings
from schemas.records.readings import Reason, TimeLimits
from tests.support.records import meter, records

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
READINGS = st.sets(st.tuples(st.sampled_from("AB"), st.integers(0, 600)), max_size=20)


@given(READINGS)
def test_every_reading_lies_in_one_stretch_and_the_stretches_of_a_meter_are_in_order(
    readings: set[tuple[str, int]],
) -> None:
    rows = sorted((device, DAWN + timedelta(minutes=each), number) for number, (device, each) in enumerate(readings))
    rounds = list(stretch_rounds(rows))

    for device in "AB":
        of_meter = [each[device] for each in rounds if device in each]
        assert of_meter == [each[device] for each in rounds[: len(of_meter)]], "a meter is in the first rounds"
        for (_, end), (begin, _) in pairwise(of_meter):
            assert begin - end > MAX_GAP_IN_STRETCH
        for at in [row[1] for row in rows if row[0] == device]:
            assert sum(begin <= at <= end for begin, end in of_meter) == 1


def test_a_register_is_a_reading_of_up_to_a_billion_kwh() -> None:
    values = [meter(at=DAWN, kwh=1e9), meter(at=DAWN, kwh=1e9 + 1), meter(at=DAWN, kwh=-1), b"{}"]
    decoded = Decoder(register_readings(1.0)).decode(records(values), TimeLimits.at(DAWN, 400))
    assert decoded.rows == [("METER-001", DAWN, 1e9, 240.5)]
    assert [letter.reason for letter in decoded.dead_letters] == [
        Reason.OUT_OF_RANGE,
        Reason.OUT_OF_RANGE,
        Reason.MISSING_FIELD,
    ]
