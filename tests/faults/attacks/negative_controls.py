"""Negative controls: attacks on a copy of the code without a safeguard, in which the oracle must find duplicates."""

from typing import Final

from tests.faults.altered_code import Replacement, altered_copy
from tests.faults.attacks.consumers import freeze_in_transaction
from tests.faults.attacks.kafka import set_offsets_in_kafka
from tests.faults.testbed import Testbed

NO_CLAIM_CONDITION: Final = Replacement(
    "sql/queries/offsets.sql", "    AND stored.next_offset = claimed.expected_offset\n", ""
)
OFFSETS_FROM_KAFKA: Final = Replacement(
    "consumer/pipeline/positions.py",
    "stored = await self._offsets.read(partitions)",
    "stored = {each: StoredOffset(await self._client.committed(each) or 0) for each in await self._offsets.read(partitions)}",
)


async def remove_claim_condition(testbed: Testbed) -> None:
    """Preparation: the claim moves a partition's offset from any value."""
    _run_without_safeguards(testbed, NO_CLAIM_CONDITION)


async def start_at_offsets_in_kafka(testbed: Testbed) -> None:
    """Preparation: consumers start at the offsets that Kafka has for the group, and the claim accepts any offset."""
    _run_without_safeguards(testbed, NO_CLAIM_CONDITION, OFFSETS_FROM_KAFKA)


async def freeze(testbed: Testbed, _: int) -> None:
    """Without the claim condition a frozen consumer writes its batch again, unless it learns of its eviction first."""
    while not await testbed.has_consumed_twice():
        await freeze_in_transaction(testbed)


async def rewind(testbed: Testbed, _: int) -> None:
    """Set the offsets in Kafka back to 0 between the stop of one consumer and the start of the next."""
    if not testbed.running:
        testbed.start()
    await testbed.load.send(3)
    await testbed.until_caught_up()
    await testbed.stop_all()
    await set_offsets_in_kafka(testbed, 0)
    testbed.start()
    await testbed.load.send(1)
    await testbed.load.stop_sending()
    await testbed.until_caught_up()


def _run_without_safeguards(testbed: Testbed, *replacements: Replacement) -> None:
    testbed.group.code = altered_copy(testbed.group.directory / "without-safeguard", replacements)
