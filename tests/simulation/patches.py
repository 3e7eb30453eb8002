"""The seam to the consumer: what is put in place of the clock, of chance, of aiokafka's client, and of what is not simulated."""

import asyncio
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from random import Random
from types import SimpleNamespace
from typing import Any, Final, Self

import structlog
from prometheus_client import CollectorRegistry

import consumer.kafka.client
import consumer.kafka.fetch_state
import consumer.kafka.group_members
import consumer.lag.reporter
import consumer.pipeline.poll_loop
import consumer.pipeline.positions
import consumer.retry
import consumer.service
from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings
from tests.simulation.database.statements import EPOCH
from tests.simulation.event_loop import ProcessLoop, Scheduler

REPORT_SECONDS: Final = 4.0  # of the lag reporter; each second would double the work of a run
IDLE_FETCH_MS: Final = 1000  # of a fetch without records; one that finds some returns at once
LOOK_SECONDS: Final = 0.0003  # that pass with each look at the clock
_monotonic, _time = time.monotonic, time.time


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
        processors=[_hear], wrapper_class=structlog.make_filtering_bound_logger(level), cache_logger_on_first_use=False
    )
    for name, module in list(sys.modules.items()):
        if name.startswith("consumer.") and getattr(module, "datetime", None) is datetime:
            module.datetime = SimulatedDatetime  # type: ignore[attr-defined]
    service: Any = consumer.service
    service.AlertRelay, service.RecordSampler, service.collect_on_schedule = NoAlertRelay, NoSampler, _idle
    kafka_client: Any = consumer.kafka.client
    kafka_client._new_client = _new_client
    members: Any = consumer.kafka.group_members
    members.AIOKafkaAdminClient = SimulatedAdmin
    reporter: Any = consumer.lag.reporter
    reporter.REPORT_SECONDS = REPORT_SECONDS
    positions: Any = consumer.pipeline.positions
    positions.fetch_positions = lambda client: client.fetch_positions()
    fetch_state: Any = consumer.kafka.fetch_state
    fetch_state.metadata_version = lambda client: client.metadata_version()
    poll_loop: Any = consumer.pipeline.poll_loop
    poll_loop.IDLE_FETCH_MS = IDLE_FETCH_MS
    warnings.simplefilter("ignore", RuntimeWarning)  # coroutines of killed processes are never awaited
    sys.unraisablehook = lambda unraisable: None  # nor do their `finally` blocks get to their end


def enter(scheduler: Scheduler, rng: Random, on_log: Callable[[str, Mapping[str, Any]], None]) -> None:
    """Begin a run: the clocks show virtual time."""
    retry: Any = consumer.retry
    retry.random = rng
    Current.scheduler, Current.on_log = scheduler, on_log


def leave() -> None:
    """End a run."""
    Current.scheduler = Current.on_log = None


METRICS: Final = Metrics(CollectorRegistry())  # shared by all processes: nothing reads them
