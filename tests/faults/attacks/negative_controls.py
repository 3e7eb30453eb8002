"""Negative controls: a copy of the code without a safeguard, or damaged data, in which the oracle must find what is wrong."""

from datetime import timedelta
from typing import Final

from tests.faults.altered_code import Replacement, altered_copy
from tests.faults.attacks.consumers import freeze_in_transaction
from tests.faults.attacks.kafka import set_offsets_in_kafka
from tests.faults.attacks.levels.folding import FOLDED_BEFORE
from tests.faults.attacks.levels.interruption import send_late, start_at_rest
from tests.faults.testbed import Testbed

NO_CLAIM_CONDITION: Final = Replacement(
    "sql/queries/offsets.sql", "    AND stored.next_offset = claimed.expected_offset\n", ""
)
OFFSETS_FROM_KAFKA: Final = Replacement(
    "consumer/pipeline/positions.py",
    "stored = await self._offsets.read(partitions)",
    "stored = {each: StoredOffset(await self._client.committed(each) or 0) for each in await self._offsets.read(partitions)}",
)
LAST_ELEMENT_LOST: Final = """
WITH shortened AS (
    UPDATE vehicle_days
    SET readings = readings - 1,
        recorded = encode_instants((decode_instants(recorded))[:readings - 1]),
        ingested = encode_series((decode_series(ingested))[:readings - 1]),
        kwh_delivered_dc = encode_series((decode_series(kwh_delivered_dc))[:readings - 1]),
        soc = encode_series((decode_series(soc))[:readings - 1]),
        battery_temp = encode_series((decode_series(battery_temp))[:readings - 1])
    WHERE vehicle_id = 'VEH-1' AND readings > 1
    RETURNING vehicle_id
)
SELECT count(*) FROM shortened
"""


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


async def shorten_folded_day(testbed: Testbed, number: int) -> None:
    """Remove the last element of each array of one vehicle's folded day."""
    await start_at_rest(testbed)
    await send_late(testbed, [await testbed.database.value(FOLDED_BEFORE) - timedelta(hours=17)], number)
    await send_late(testbed, [await testbed.database.value(FOLDED_BEFORE) - timedelta(hours=16)], number)
    await testbed.until_at_rest()
    shortened = await testbed.database.value(LAST_ELEMENT_LOST)
    assert shortened == 1, f"{shortened} days were shortened"


def _run_without_safeguards(testbed: Testbed, *replacements: Replacement) -> None:
    testbed.group.code = altered_copy(testbed.group.directory / "without-safeguard", replacements)
