"""From when on a demo sends readings."""

from datetime import UTC, datetime, timedelta

import pytest

from deploy.demo.fleet import backfill_from

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("folded", "newest", "begin"),
    [
        (12 * HOUR, None, 12 * HOUR),
        (12 * HOUR, HOUR, 12 * HOUR),
        (4 * DAY, HOUR, 30 * HOUR),
        (4 * DAY, 3 * DAY, 3 * DAY),
        (40 * DAY, 40 * DAY, 7 * DAY),
    ],
    ids=["a new demo", "a short pause", "hours as rows", "a long pause", "longer than the longest"],
)
def test_a_demo_goes_on_where_its_history_ends(folded: timedelta, newest: timedelta | None, begin: timedelta) -> None:
    stored = None if newest is None else NOW - newest
    assert backfill_from(NOW, NOW - folded, stored) == NOW - begin
