"""The bound of a replica's staleness is never too low, whatever the primary does and whenever the servers are queried."""

from hypothesis import given
from hypothesis import strategies as st

from api.database.staleness import ReplicaStaleness


def test_the_staleness_is_unknown_before_the_first_query() -> None:
    assert ReplicaStaleness().seconds(0) is None


def test_a_replica_of_an_idle_primary_is_current_however_old_the_last_commit_is() -> None:
    staleness = ReplicaStaleness()
    staleness.record_primary(100, 5000)
    staleness.record_replica(100, 5000, committed_ago=3600)
    assert staleness.seconds(101) == 1


def test_the_staleness_of_a_replica_that_replays_nothing_counts_from_when_it_was_last_current() -> None:
    staleness = ReplicaStaleness()
    staleness.record_primary(100, 5000)
    staleness.record_replica(100, 5000, committed_ago=1)
    for second in range(101, 160):
        staleness.record_primary(second, 5000 + second)
        staleness.record_replica(second, 5000, committed_ago=second - 99)
    assert staleness.seconds(160) == 60


def test_without_the_primary_the_age_of_the_last_commit_is_the_bound() -> None:
    staleness = ReplicaStaleness()
    staleness.record_replica(100, 5000, committed_ago=2.5)
    assert staleness.seconds(101) == 3.5


def test_a_promoted_replica_is_not_stale() -> None:
    staleness = ReplicaStaleness()
    staleness.record_replica(100, 5000, committed_ago=50)
    staleness.record_promotion()
    assert staleness.seconds(500) == 0


def test_the_staleness_is_unknown_after_a_reset() -> None:
    staleness = ReplicaStaleness()
    staleness.record_primary(100, 5000)
    staleness.record_replica(100, 5000, None)
    staleness.reset()
    assert staleness.seconds(101) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60), st.booleans()), min_size=1, max_size=60))
def test_the_bound_is_never_too_low(seconds: list[tuple[int, int, bool]]) -> None:
    """Each second the primary writes some bytes, the replica replays some, and the primary can be queried or not."""
    staleness, ends, replayed = ReplicaStaleness(), [0], 0
    for now, (written, replays, queried) in enumerate(seconds):
        ends.append(ends[-1] + written)
        replayed = min(ends[-1], replayed + replays)
        if queried:
            staleness.record_primary(now, ends[-1])
        staleness.record_replica(now, replayed, None)
        current_as_of = (
            max(second for second, end in enumerate(ends[1:]) if end <= replayed) if ends[1] <= replayed else None
        )
        bound = staleness.seconds(now)
        if bound is not None:
            assert current_as_of is not None
            assert bound >= now - current_as_of
