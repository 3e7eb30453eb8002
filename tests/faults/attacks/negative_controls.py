"""Negative controls: attacks on a copy of the code without a safeguard, in which the oracle must find duplicates."""

import shutil
from pathlib import Path

from tests.faults.attacks.consumers import freeze_in_transaction
from tests.faults.attacks.kafka import set_offsets_in_kafka
from tests.faults.testbed import Testbed
from tests.support.repository import ROOT

CLAIM_CONDITION = "    AND stored.next_offset = claimed.expected_offset\n"
OFFSETS_FROM_DATABASE = "stored = await self._offsets.read(partitions)"
OFFSETS_FROM_KAFKA = "stored = {each: StoredOffset(await self._client.committed(each) or 0) for each in partitions}"


async def remove_claim_condition(testbed: Testbed) -> None:
    """Preparation: the claim moves a partition's offset from any value."""
    _replace_in_code(testbed, {"sql/queries/offsets.sql": (CLAIM_CONDITION, "")})


async def start_at_offsets_in_kafka(testbed: Testbed) -> None:
    """Preparation: consumers start at the offsets that Kafka has for the group, and the claim accepts any offset."""
    _replace_in_code(
        testbed,
        {
            "sql/queries/offsets.sql": (CLAIM_CONDITION, ""),
            "consumer/pipeline/positions.py": (OFFSETS_FROM_DATABASE, OFFSETS_FROM_KAFKA),
        },
    )


async def freeze(testbed: Testbed, _: int) -> None:
    """Without the claim condition the frozen consumer writes its batch again when it continues."""
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


def _replace_in_code(testbed: Testbed, replacements: dict[str, tuple[str, str]]) -> None:
    """Let consumers run from a copy of the code in which, in each file, one text is replaced by another."""
    copy = testbed.group.directory / "without-safeguard"
    for package in ("schemas", "sql", "consumer"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (original, replacement) in replacements.items():
        file: Path = copy / name
        text = file.read_text()
        assert original in text, f"{name} has changed: {original!r} is not in it"
        file.write_text(text.replace(original, replacement))
    testbed.group.code = copy
