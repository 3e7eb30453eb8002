"""Negative controls: with a safeguard taken away, the same attacks must show duplicates. They prove that the oracle sees."""

import shutil
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.attacks.kafka import set_offsets_in_kafka
from tests.faults.attacks.replicas import freeze_once
from tests.support.repository import ROOT

CLAIM = "    AND stored.next_offset = claimed.expected_offset\n"
OFFSETS_OF_THE_DATABASE = "stored = await self._stored.read(partitions)"
OFFSETS_OF_KAFKA = "stored = {each: await self._consumer.committed(each) or 0 for each in partitions}"


async def without_the_claims_condition(arena: Arena) -> None:
    """The claim moves a partition from wherever it stands."""
    _weaken(arena, {"sql/queries/offsets.sql": (CLAIM, "")})


async def with_kafkas_offsets(arena: Arena) -> None:
    """Reading continues where Kafka says, and nobody objects."""
    _weaken(
        arena,
        {
            "sql/queries/offsets.sql": (CLAIM, ""),
            "consumer/pipeline/rebalance.py": (OFFSETS_OF_THE_DATABASE, OFFSETS_OF_KAFKA),
        },
    )


def _weaken(arena: Arena, changes: dict[str, tuple[str, str]]) -> None:
    """Replicas run from a copy of the code, in which some text stands for another."""
    copy = arena.group.directory / "weakened"
    for room in ("schemas", "sql", "consumer"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (strong, weak) in changes.items():
        file: Path = copy / name
        text = file.read_text()
        assert strong in text, f"{name} has changed: {strong!r} is not in it"
        file.write_text(text.replace(strong, weak))
    arena.group.code = copy


async def freeze(arena: Arena, _: int) -> None:
    """The zombie writes again when it wakes up."""
    await freeze_once(arena)


async def rewind(arena: Arena, _: int) -> None:
    """Kafka's offsets are set back between two replicas."""
    if not arena.live:
        arena.start()
    await arena.load.send(3)
    await arena.caught_up()
    await arena.stop_all()
    await set_offsets_in_kafka(arena, 0)
    arena.start()
    await arena.load.send(1)
    await arena.load.settle()
    await arena.caught_up()
