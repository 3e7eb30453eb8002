"""Static membership: a restart causes no rebalance, and a member with the same instance id replaces the older one."""

import pytest

from deploy.stack.processes import end_of
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

# The fixture is named so that the database is dropped only after the consumers have ended.
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database")]
STATIC_MEMBER = {"KAFKA_GROUP_INSTANCE_ID": "consumer-0", "KAFKA_SESSION_TIMEOUT_MS": "30000"}


async def test_the_older_of_two_consumers_with_the_same_instance_id_ends_and_logs_why(
    group: ConsumerGroup, topics: Topics
) -> None:
    older = group.start(**STATIC_MEMBER)
    await older.until_ready()
    newer = group.start(**STATIC_MEMBER)
    await newer.until_ready()

    async def ended() -> bool:
        return older.process.poll() is not None

    await until(ended, f"the older consumer ends; its log:\n{end_of(older.log)}")
    assert older.process.poll() == 1
    assert "KAFKA_GROUP_INSTANCE_ID=consumer-0" in older.events("instance_id_taken")[0]["detail"]
    assert await newer.blocked_by() == {}
    assert newer.process.poll() is None
    assert newer.events("instance_id_taken") == []


async def test_a_killed_static_member_that_restarts_before_its_session_ends_causes_no_rebalance(
    group: ConsumerGroup, topics: Topics
) -> None:
    other = group.start(KAFKA_GROUP_INSTANCE_ID="consumer-1", KAFKA_SESSION_TIMEOUT_MS="30000")
    await other.until_ready()
    killed = group.start(**STATIC_MEMBER)
    await killed.until_ready()
    revoked = len(other.events("partitions_revoked"))
    group.kill(killed)
    await group.start(**STATIC_MEMBER).until_ready()
    assert len(other.events("partitions_revoked")) == revoked, "the other consumer kept its partitions"
    assert group.stop(other) == 0
