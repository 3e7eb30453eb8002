"""The seam to the consumer: what is put in place of the clock, of chance, of aiokafka's client, and of what is not simulated."""

import asyncio
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from random import Random
from types import SimpleNamespace
from typing import Any, Final, Self, cast

import structlog
from aiokafka import TopicPartition

import consumer.kafka.client
import consumer.kafka.fetch_state
import consumer.kafka.group_members
import consumer.pipeline.positions
import consumer.retry
import consumer.service
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.rebalance import RebalanceListener
from consumer.records.batch import Decoded
from consumer.records.decode import Decoder
from consumer.records.record import Record
from consumer.settings import ConsumerSettings
from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS
from schemas.records.readings import TimeLimits
from tests.simulation.database.statements import EPOCH
from tests.simulation.event_loop import ProcessLoop, Scheduler
from tests.simulation.kafka.client import SimulatedConsumer
from tests.simulation.retries import RetryContext

# The consumer's checks in the background are rarer here: most of a run would be idle rounds of them. Those of the plan's
# `check_seconds` are as frequent as in the consumer in some runs.
INTERVALS: Final[Mapping[tuple[str, str], float]] = {
    ("consumer.kafka.subscription", "CHECK_SECONDS"): 3.0,
    ("consumer.pipeline.poll_loop", "OPERATOR_CHECK_SECONDS"): 3.0,
    ("consumer.pipeline.poll_loop", "RECORDS_PER_SLICE"): 2,
}
LOOK_SECONDS: Final = 0.0003  # that pass with each look at the clock
DECODE_SECONDS: Final = 0.002  # that a record takes: writes end while others are decoded
_monotonic, _time = time.monotonic, time.time
_decode_at_once = Decoder.decode


class Current:
    """The world that runs in this interpreter: its clock, its chance, and who hears what the consumer logs."""

    scheduler: Scheduler | None = None
    on_log: Callable[[str, Mapping[str, Any]], None] | None = None
    trace = False


class SimulatedDatetime(datetime):
    """datetime with the virtual clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(_wall_clock(), tz)


def _virtual_monotonic() -> float:
    scheduler = Current.scheduler
    if scheduler is None:
        return _monotonic()
    scheduler.now += LOOK_SECONDS  # a loop that waits for an instant without giving way gets there
    return 1000.0 + scheduler.now


def _wall_clock() -> float:
    scheduler = Current.scheduler
    if scheduler is None:
        return _time()
    process = scheduler.current
    return EPOCH + scheduler.now + (process.clock_offset if process else 0.0)


class NoSampler:
    """Stands for the lag reporter's second client."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self.settings = settings

    async def sample(self, unread: Mapping[Any, Any]) -> dict[Any, Any]:
        return {}


class NoAlertRelay:
    """The alert relay has no part in the promise about records."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    async def run(self) -> None:
        await asyncio.Event().wait()


class SimulatedAdmin:
    """AIOKafkaAdminClient: who is in the group."""

    def __init__(self, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ProcessLoop)
        self._machine: Any = loop.machine

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def describe_consumer_groups(self, groups: list[str]) -> list[Any]:
        return [SimpleNamespace(groups=[await self._machine.describe_group()])]


class WatchedListener(RebalanceListener):
    """Between the callbacks of a rebalance nothing of the revoked partitions is buffered, or being written by a live task."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        kept = self._positions._buffers.unwritten_partitions()
        if kept:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, ProcessLoop)
            loop.machine.violate(f"records of {sorted(kept)} were kept, though they were revoked")
        await super().on_partitions_assigned(assigned)


def _decode(decoder: Decoder, records: list[Record], limits: TimeLimits) -> Decoded:
    if Current.scheduler is not None:
        Current.scheduler.now += DECODE_SECONDS * len(records)
    return _decode_at_once(decoder, records, limits)


async def _idle() -> None:
    await asyncio.Event().wait()


def _new_client(settings: ConsumerSettings) -> Any:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ProcessLoop)
    return loop.machine.new_client()


def _hear(logger: Any, method: str, event: Any) -> Any:
    if Current.trace and Current.scheduler is not None:
        process = Current.scheduler.current
        name = process.machine.name if process and process.machine else "-"
        facts = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
        print(f"{Current.scheduler.now:9.4f} {name:14} {event['event']} {facts}", file=sys.stderr)  # noqa: T201
    if Current.on_log is not None:
        Current.on_log(event["event"], event)
    raise structlog.DropEvent


def install(*, trace: bool = False) -> None:
    """Put the seam in place, once in an interpreter. Without a world the clocks are the real ones."""
    patched: Any = time
    patched.monotonic, patched.time = _virtual_monotonic, _wall_clock
    Current.trace = trace
    level = 10 if trace else 30
    structlog.configure(
        processors=[_hear], wrapper_class=structlog.make_filtering_bound_logger(level), cache_logger_on_first_use=True
    )
    for name, module in list(sys.modules.items()):
        if name.startswith("consumer.") and getattr(module, "datetime", None) is datetime:
            module.datetime = SimulatedDatetime  # type: ignore[attr-defined]
    patched = Decoder
    patched.decode = _decode
    service: Any = consumer.service
    service.AlertRelay, service.RecordSampler, service.collect_on_schedule = NoAlertRelay, NoSampler, _idle
    service.RebalanceListener = WatchedListener
    service.record_types_by_topic = lambda settings: {
        settings.kafka_meter_topic: METER_READINGS,
        settings.kafka_vehicle_topic: VEHICLE_READINGS,
    }
    kafka_client: Any = consumer.kafka.client
    kafka_client._new_client = _new_client
    members: Any = consumer.kafka.group_members
    members.AIOKafkaAdminClient = SimulatedAdmin
    for (module_name, interval), value in INTERVALS.items():
        _set(module_name, interval, value)
    positions: Any = consumer.pipeline.positions
    positions.fetch_positions = SimulatedConsumer.fetch_positions
    fetch_state: Any = consumer.kafka.fetch_state
    fetch_state.cluster_state = SimulatedConsumer.cluster_state
    fetch_state.connections = SimulatedConsumer.connections
    retry: Any = consumer.retry
    retry.stamina = SimpleNamespace(retry_context=RetryContext)
    warnings.simplefilter("ignore", RuntimeWarning)  # coroutines of killed processes are never awaited
    sys.unraisablehook = lambda unraisable: None  # nor do their `finally` blocks get to their end


def _set(module_name: str, interval: str, value: float) -> None:
    module = sys.modules[module_name]
    getattr(module, interval)  # raises when it has another name now
    setattr(module, interval, value)


def enter(
    scheduler: Scheduler,
    rng: Random,
    check_seconds: tuple[float, float],
    on_log: Callable[[str, Mapping[str, Any]], None],
) -> None:
    """Begin a run: the clocks show virtual time."""
    report_seconds, watch_seconds = check_seconds
    _set("consumer.lag.reporter", "REPORT_SECONDS", report_seconds)
    _set("consumer.pipeline.offset_watch", "WATCH_SECONDS", watch_seconds)
    retry: Any = consumer.retry
    retry.random = rng
    Current.scheduler, Current.on_log = scheduler, on_log


def leave() -> None:
    """End a run."""
    Current.scheduler = Current.on_log = None


class _Unread:
    """A metric that nothing reads, and the methods of `Metrics`."""

    def labels(self, *values: object) -> Self:
        return self

    def ignore(self, *values: object) -> None:
        return

    __call__ = clear = inc = observe = remove = set = ignore


def _unread_metrics() -> Metrics:
    metrics: Any = SimpleNamespace(**{name: _Unread() for name in vars(Metrics) if not name.startswith("_")})
    return cast("Metrics", metrics)


METRICS: Final = _unread_metrics()
