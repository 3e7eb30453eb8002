"""Rate at which backlogs of the same readings drain in each format, in turn."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Final

import msgspec

from deploy.simulator.readings import Record, RecordType
from schemas.records.readings import MeterReading, VehicleReading
from tests.bench.instruments.drain_run import drain_backlog
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.backlog import Backlog, produce_backlog
from tests.bench.setup.harness import Harness
from tests.support.formats.encoding import FORMATS, framed, own_schema
from tests.support.formats.registry import RegistryServer, schema_registry

MINUTES: Final = 60  # 1.2 million records of 20,000 devices in each format
STRUCTS: Final[dict[RecordType, type[msgspec.Struct]]] = {
    RecordType.METER: MeterReading,
    RecordType.VEHICLE: VehicleReading,
}
IDS: Final = {pair: number for number, pair in enumerate(product(FORMATS, STRUCTS), 1)}


def measure(harness: Harness) -> Iterator[Result]:
    """Records a second and CPU time a record; the ratio is to JSON's of the same run."""
    minutes = harness.scaled(MINUTES, minimum=2)
    backlogs = {"json": produce_backlog(harness, minutes)}
    for value_format in FORMATS:
        harness.log_progress(f"producing {value_format}")
        backlogs[value_format] = produce_backlog(harness, minutes, encode=_encoder(value_format))
    with schema_registry() as registry:
        for (value_format, kind), number in IDS.items():
            registry.schemas[number] = own_schema(value_format, STRUCTS[kind])
            topics = backlogs[value_format].topics
            registry.subjects[f"{topics.meter if kind is RecordType.METER else topics.vehicle}-value"] = [number]
        yield from with_medians(
            result for run in range(1, harness.runs + 1) for result in _drain_each(harness, backlogs, registry, run)
        )


def _encoder(value_format: str) -> Callable[[Record], Record]:
    encoders = {kind: framed(value_format, struct, IDS[value_format, kind]) for kind, struct in STRUCTS.items()}
    return lambda record: record._replace(value=encoders[record.record_type](record.value or b""))


def _drain_each(harness: Harness, backlogs: dict[str, Backlog], registry: RegistryServer, run: int) -> Iterator[Result]:
    """One drain of each format, in reverse order in every second run."""
    order = list(backlogs) if run % 2 else list(reversed(backlogs))
    rates: dict[str, tuple[float, dict[str, float]]] = {}
    for value_format in order:
        settings = {
            "KAFKA_METER_FORMAT": value_format,
            "KAFKA_VEHICLE_FORMAT": value_format,
            "SCHEMA_REGISTRY_URL": registry.url,
        }
        with harness.empty_database() as database:
            drained = drain_backlog(harness, backlogs[value_format], database, settings=settings)
        rates[value_format] = drained.rate, drained.cpu
        harness.log_progress(f"drain of {value_format}, run {run}: {drained.rate:,.0f} records/s")
    for value_format, (rate, cpu) in rates.items():
        yield Result(
            measure=f"drain_{value_format}",
            value=round(rate),
            unit="records/s",
            ratio=round(rate / rates["json"][0], 4),
            run=run,
            details=cpu,
        )
