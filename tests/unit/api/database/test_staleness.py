"""A replica is never called fresher than it is, whatever its primary does and whenever the two are asked."""

from hypothesis import given
from hypothesis import strategies as st

from api.database.staleness import ReplicaStaleness


def test_nothing_is_known_of_a_replica_that_was_not_asked() -> None:
    assert ReplicaStaleness().staleness(0) is None


def test_a_replica_of_an_idle_primary_is_current_however_old_the_last_commit() -> None:
    freshness = ReplicaStaleness()
    freshness.primary_is(100, 5000)
    freshness.replica_is(100, 5000, committed_ago=3600)
    assert freshness.staleness(101) == 1


def test_a_replica_that_replays_nothing_gets_older_from_where_it_was_current_last() -> None:
    freshness = ReplicaStaleness()
    freshness.primary_is(100, 5000)
    freshness.replica_is(100, 5000, committed_ago=1)
    for second in range(101, 160):
        freshness.primary_is(second, 5000 + second)
        freshness.replica_is(second, 5000, committed_ago=second - 99)
    assert freshness.staleness(160) == 60


def test_without_the_primary_the_last_commit_is_what_is_known() -> None:
    freshness = ReplicaStaleness()
    freshness.replica_is(100, 5000, committed_ago=2.5)
    assert freshness.staleness(101) == 3.5


def test_a_replica_that_was_promoted_misses_nothing() -> None:
    freshness = ReplicaStaleness()
    freshness.replica_is(100, 5000, committed_ago=50)
    freshness.replica_is_primary()
    assert freshness.staleness(500) == 0


def test_another_server_is_not_known_by_what_the_first_had() -> None:
    freshness = ReplicaStaleness()
    freshness.primary_is(100, 5000)
    freshness.replica_is(100, 5000, None)
    freshness.forget()
    assert freshness.staleness(101) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60), st.booleans()), min_size=1, max_size=60))
def test_it_is_never_called_fresher_than_it_is(seconds: list[tuple[int, int, bool]]) -> None:
    """Each second the primary writes some bytes, the replica replays some, and the primary can be asked or not."""
    freshness, ends, replayed = ReplicaStaleness(), [0], 0
    for now, (written, replays, asked) in enumerate(seconds):
        ends.append(ends[-1] + written)
        replayed = min(ends[-1], replayed + replays)
        if asked:
            freshness.primary_is(now, ends[-1])
        freshness.replica_is(now, replayed, None)
        current_as_of = (
            max(second for second, end in enumerate(ends[1:]) if end <= replayed) if ends[1] <= replayed else None
        )
        claimed = freshness.staleness(now)
        if claimed is not None:
            assert current_as_of is not None
            assert claimed >= now - current_as_of
