"""Planted defects: each replaces a text in one module, in memory, and some seed must find it.

Most are in the consumer. Where the defect would be in SQL, which does not run here, it is in the model of the statement.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Defect:
    """`text` of a module is replaced by `replacement`."""

    name: str
    module: str
    text: str
    replacement: str

    @property
    def path(self) -> Path:
        return ROOT / (self.module.replace(".", "/") + ".py")

    def apply(self, source: str) -> str:
        """The source with the defect.

        Raises:
            ValueError: the text is not there exactly once.
        """
        if source.count(self.text) != 1:
            raise ValueError(f"{self.name}: {self.module} has {source.count(self.text)} times {self.text!r}")
        return source.replace(self.text, self.replacement)


DEFECTS: Final[Sequence[Defect]] = (
    Defect(
        "the order of arrival decides, not the claim",
        "consumer.storage.ledger",
        "    if len(claimed) != len(spans):\n",
        "    if not spans:\n",
    ),
    Defect(
        "a position out of range is not compared with the log",
        "consumer.pipeline.poll_loop",
        "            self._positions.compare_with_log(error.args[0])\n",
        "            pass\n",
    ),
    Defect(
        "decoding goes on after a revocation",
        "consumer.pipeline.positions",
        "            next_offsets is self.next_offsets\n            and next_offsets",
        "            next_offsets",
    ),
    Defect(
        "nothing is drained when partitions are revoked",
        "consumer.pipeline.positions",
        "        await self._buffers.drain()\n",
        "",
    ),
    Defect(
        "a drain keeps the filling batch",
        "consumer.pipeline.topic_buffer",
        "        self.builder = BatchBuilder()\n        return self._take_write()\n",
        "        return self._take_write()\n",
    ),
    Defect(
        "partitions stay paused after backpressure",
        "consumer.pipeline.poll_loop",
        "            self._client.resume(*self._active_partitions())",
        "            pass",
    ),
    Defect(
        "the next position stands still",
        "consumer.pipeline.poll_loop",
        "            next_offsets[partition] = position = end\n",
        "            position = end\n",
    ),
    Defect(
        "the stored offset skips a record",
        "consumer.records.batch",
        "        next_offset=offsets.stop,\n",
        "        next_offset=offsets.stop + 1,\n",
    ),
    Defect(
        "a batch counts only its last portion",
        "consumer.records.batch",
        "consumed=before.consumed + len(records),",
        "consumed=len(records),",
    ),
    Defect(
        "offsets move past what was only prefetched",
        "consumer.pipeline.poll_loop",
        "end = scan.offsets.stop if start + len(part) == len(records) else part[-1].offset + 1",
        "end = self._log_end(partition) or scan.offsets.stop",
    ),
    Defect(
        "a topic that was stopped before a rebalance is forgotten",
        "consumer.pipeline.positions",
        "        if partition.topic in self._breaker.stopped:\n            self._stopped.add(partition)\n",
        "        if partition.topic in self._breaker.stopped:\n            pass\n",
    ),
    Defect(
        "the stored offsets are not watched",
        "consumer.pipeline.offset_watch",
        "                await self._find_moved_offsets()\n",
        "                pass\n",
    ),
    Defect(
        "the offsets of revoked partitions are committed behind JoinGroup",
        "consumer.pipeline.offset_watch",
        "self._offsets.watch(set(self._positions.stored))",
        "self._offsets.watch(self._client.assignment())",
    ),
    Defect(
        "the last record is not compared",
        "consumer.pipeline.log_identity",
        "            if record_hash(found) != self.expected.hash:\n",
        "            if False:\n",
    ),
    Defect(
        "a last record that is gone is not missed",
        "consumer.pipeline.log_identity",
        '                raise OtherLogError(self.expected.offset, "no record any more")\n',
        "                return None\n",
    ),
    Defect(
        "records that were not there before are dropped",
        "consumer.pipeline.log_identity",
        "        if known:\n",
        "        if False:\n",
    ),
    Defect(
        "another leader, or one that was away, is trusted",
        "consumer.kafka.fetch_state",
        "if self._known.get(each) != connection}",
        "if False}",
    ),
    Defect(
        "a new partition begins at the end of its log",
        "consumer.pipeline.positions",
        "{each: found.beginning for each, found in ranges.items()}",
        "{each: found.end for each, found in ranges.items()}",
    ),
    Defect(
        "frozen sessions are not evicted",
        "consumer.storage.offsets",
        "        await asyncio.sleep(EVICT_AFTER_SECONDS)\n        while True:\n",
        "        await asyncio.sleep(1000 * EVICT_AFTER_SECONDS)\n        while True:\n",
    ),
    Defect(
        "records before the stored offset are taken again",
        "consumer.pipeline.positions",
        "return [record for record in records if record.offset >= next_offset]",
        "return records",
    ),
    Defect(
        "the client is not set back to the next offset",
        "consumer.pipeline.positions",
        "            if positions.get(partition, expected) != expected:\n",
        "            if False:\n",
    ),
    Defect(
        "the record at the stored offset is dropped after a restore",
        "consumer.pipeline.positions",
        "if record.offset >= next_offset]",
        "if record.offset > next_offset]",
    ),
    Defect(
        "a reading taken for new is not checked again",
        "consumer.storage.store",
        "                check_duplicates = True  # the next",
        "                check_duplicates = False  # the next",
    ),
    Defect(
        "late readings that were inserted leave no mark",
        "consumer.storage.readings",
        "        new=[*split.new, *inserted] if inserted else split.new,\n",
        "        new=split.new,\n",
    ),
    Defect(
        "duplicates are not counted",
        "consumer.storage.store",
        "duplicates=count_by_partition(duplicates), dead",
        "duplicates=count_by_partition([]), dead",
    ),
    Defect(
        "live status takes the oldest of the inserted readings",
        "consumer.storage.readings",
        "row[RECORDED_AT] > before[RECORDED_AT]:",
        "row[RECORDED_AT] < before[RECORDED_AT]:",
    ),
    Defect(
        "the claim has no condition",
        "tests.simulation.database.statements",
        "        if row is None or row.next != expected or row.halt_reason:\n",
        "        if row is None:\n",
    ),
    Defect(
        "live status is overwritten by older readings",
        "tests.simulation.database.statements",
        "            if live is None or at > live[0]:\n",
        "            if True:\n",
    ),
)


class _DefectiveLoader(SourceFileLoader):
    """Compiles the source with the defect; the cache of compiled modules is left alone."""

    def __init__(self, name: str, path: str, defect: Defect) -> None:
        super().__init__(name, path)
        self._defect = defect

    def get_code(self, fullname: str) -> CodeType:
        source = self._defect.apply(self.get_data(self.path).decode())
        return compile(source, self.path, "exec", dont_inherit=True)


class _DefectFinder(MetaPathFinder):
    def __init__(self, defect: Defect) -> None:
        self._defect = defect

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._defect.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _DefectiveLoader(fullname, spec.origin, self._defect)
        return spec


def plant(name: str) -> None:
    """Plant a defect in this interpreter, before its module is imported."""
    defect = next(each for each in DEFECTS if each.name == name)
    if defect.module in sys.modules:
        raise RuntimeError(f"{defect.module} is imported already")
    sys.meta_path.insert(0, _DefectFinder(defect))
