"""Replicas with names: a restart moves nothing, and of two with the same name the newer one stays."""

import pytest

from deploy.stack.processes import end_of
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database")]  # which goes after the replicas have ended
NAMED = {"KAFKA_GROUP_INSTANCE_ID": "replica-0", "KAFKA_SESSION_TIMEOUT_MS": "30000"}


async def test_of_two_replicas_with_one_name_the_older_one_ends_and_says_why(
    group: ConsumerGroup, topics: Topics
) -> None:
    older = group.start(**NAMED)
    await older.until_ready()
    newer = group.start(**NAMED)
    await newer.until_ready()

    async def ended() -> bool:
        return older.process.poll() is not None

    await until(ended, f"the older replica ends; its log:\n{end_of(older.log)}")
    assert older.process.poll() == 1
    assert "KAFKA_GROUP_INSTANCE_ID=replica-0" in older.events("instance_id_taken")[0]["detail"]
    assert await newer.blocked_by() == {}
    assert newer.process.poll() is None
    assert newer.events("instance_id_taken") == []


async def test_a_killed_replica_comes_back_under_its_name_before_its_session_has_ended(
    group: ConsumerGroup, topics: Topics
) -> None:
    other = group.start(KAFKA_GROUP_INSTANCE_ID="replica-1", KAFKA_SESSION_TIMEOUT_MS="30000")
    await other.until_ready()
    killed = group.start(**NAMED)
    await killed.until_ready()
    revoked = len(other.events("partitions_revoked"))
    group.kill(killed)
    await group.start(**NAMED).until_ready()
    assert len(other.events("partitions_revoked")) == revoked, "the other one kept its partitions"
    assert group.stop(other) == 0
