"""A rolling upgrade: migrate the schema -> stop and start one consumer after the other -> measure the stall of each partition."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import TopicPartition
from pydantic import SecretStr

from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.faults.stalls import partition_stalls
from tests.faults.testbed import PARTITIONS, Testbed
from tests.support.repository.migrations import add_column, create_index, extended_migrations
from tests.support.services import ConsumerProcess

SESSION_TIMEOUT_MS: Final = 20_000  # as in production: longer than a consumer takes to start
# The promise: with static membership a restart moves no partition, and takes one or two seconds.
MAX_STALL_WITH_STATIC_MEMBERSHIP_SECONDS: Final = 5.0
MAX_STALL_SECONDS: Final = 15.0  # every restart rebalances all partitions twice
MEASUREMENT: Final = "longest_stall_of_a_partition_seconds"
INDEX_IS_VALID: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"


async def start_static_members(testbed: Testbed) -> None:
    """Preparation: three consumers with static membership, under load."""
    await _start_under_load(testbed, ["consumer-0", "consumer-1", "consumer-2"])


async def start_dynamic_members(testbed: Testbed) -> None:
    """Preparation: three consumers without static membership, under load."""
    await _start_under_load(testbed, [None, None, None])


def upgrade_each(*, static_membership: bool) -> Callable[[Testbed, int], Awaitable[None]]:
    """Migrate the schema and replace every consumer once. With static membership no other consumer may lose its partitions."""
    limit = MAX_STALL_WITH_STATIC_MEMBERSHIP_SECONDS if static_membership else MAX_STALL_SECONDS

    async def attack(testbed: Testbed, _: int) -> None:
        stalls: list[float] = []
        while not stalls or (stalls[-1] > limit and len(stalls) < testbed.attempts):
            stalls.append(await _upgrade(testbed, static_membership=static_membership))
        testbed.measurements[MEASUREMENT] = max(testbed.measurements.get(MEASUREMENT, 0.0), *stalls)
        assert stalls[-1] <= limit, f"a partition stood still for {stalls} s, with records that Kafka had acknowledged"

    return attack


async def _upgrade(testbed: Testbed, *, static_membership: bool) -> float:
    """Migrate, replace every consumer and wait until it has caught up; returns the longest stall of a partition in seconds."""
    await testbed.until_caught_up()  # records left by an earlier attempt must not count
    async with partition_stalls(testbed.database, testbed.load) as stalls:
        await _migrate(testbed)
        for number, old in enumerate(list(testbed.running)):
            others = [each for each in testbed.running if each is not old]
            rebalances = [len(each.events("partitions_revoked")) for each in others]
            await testbed.stop(old)
            new = _start(testbed, f"consumer-{number}" if static_membership else None)
            await new.until_ready()
            await testbed.until_caught_up()  # a stall ends with a commit, not when the consumer is ready
            if static_membership:
                assert [len(each.events("partitions_revoked")) for each in others] == rebalances
    assert _partitions(testbed) <= stalls.keys(), "every partition was seen"
    return round(max(stalls.values()), 1)


async def _migrate(testbed: Testbed) -> None:
    """Apply what a new version may bring: a column, and an index on the partition that is being written."""
    begin = testbed.load.start_time
    names = [f"meter_telemetry_history_y{begin:{period}}" for period in ("%Ym%md%d", "%Ym%m")]
    partition = await testbed.database.value(
        "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL", names
    )
    directory = testbed.group.directory / "migrations"
    name = f"later_{len(list(directory.glob('*')))}"  # different in every round
    migrations = extended_migrations(
        directory, [add_column("meter_telemetry_history", name), create_index(partition, f"{name}_idx", "ingested_at")]
    )
    await migrate(SqlSettings(database_url=SecretStr(testbed.database.migrator_url)), migrations)
    assert await testbed.database.value(INDEX_IS_VALID, f"{name}_idx"), "the index can be used"


async def _start_under_load(testbed: Testbed, instance_ids: list[str | None]) -> None:
    for consumer in [_start(testbed, instance_id) for instance_id in instance_ids]:
        await consumer.until_ready()
    testbed.load.send_continuously()


def _start(testbed: Testbed, instance_id: str | None) -> ConsumerProcess:
    # An empty instance id is the same as none.
    return testbed.start(KAFKA_SESSION_TIMEOUT_MS=str(SESSION_TIMEOUT_MS), KAFKA_GROUP_INSTANCE_ID=instance_id or "")[0]


def _partitions(testbed: Testbed) -> set[TopicPartition]:
    topics = (testbed.topics.meter, testbed.topics.vehicle)
    return {TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)}
