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


def test_a_failover_to_a_lower_position_does_not_leave_the_replica_stale() -> None:
    staleness = ReplicaStaleness()
    staleness.record_primary(100, 5000)
    staleness.record_replica(100, 4000, committed_ago=None)
    for second in range(101, 200):
        staleness.record_primary(second, 4000)
        staleness.record_replica(second, 4000, committed_ago=second - 99)
    assert staleness.seconds(199) == 0


def test_a_replica_that_is_ahead_of_a_restored_primary_is_as_old_as_its_last_commit() -> None:
    """Nothing of the new history reaches it, also when the primary's position has passed its own."""
    staleness = ReplicaStaleness()
    staleness.record_primary(100, 5000)
    staleness.record_replica(100, 5000, committed_ago=1)
    assert staleness.seconds(100) == 0
    for second in range(101, 200):
        staleness.record_primary(second, 4000 + 20 * (second - 101))
        staleness.record_replica(second, 5000, committed_ago=second - 99)
        assert staleness.seconds(second) == second - 99


SECONDS = st.tuples(st.integers(0, 50), st.integers(0, 60), st.booleans(), st.none() | st.integers(0, 40))


@given(st.lists(SECONDS, min_size=1, max_size=60))
def test_the_bound_is_never_too_low_and_zero_for_a_replica_that_has_everything(
    seconds: list[tuple[int, int, bool, int | None]],
) -> None:
    """Each second the primary writes some bytes, the replica replays some, and the primary can be queried or not.

    A failover loses the last bytes of the primary's WAL, and of the replica's (pg_rewind).
    """
    staleness, ends, replayed = ReplicaStaleness(), [0], 0
    for now, (written, replays, queried, lost) in enumerate(seconds):
        if lost is not None:
            fork = max(0, ends[-1] - lost)
            ends, replayed = [min(end, fork) for end in ends], min(replayed, fork)
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
        if queried and lost is None and replayed == ends[-1]:
            assert bound == 0
