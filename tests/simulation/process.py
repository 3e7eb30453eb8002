"""One consumer process: `consumer.service` on a loop of its own, started again by its supervisor when it ends."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from consumer.kafka.client import ClientStoppedError, start_client
from consumer.kafka.static_membership import InstanceIdTakenError
from consumer.monitoring.health import Health
from consumer.pipeline.poll_loop import IDLE_FETCH_MS
from consumer.service import leave_group, run_pipeline, wait_or_stop
from consumer.settings import ConsumerSettings
from tests.simulation.database.client import Link, Pool
from tests.simulation.database.server import Server
from tests.simulation.event_loop import ProcessLoop
from tests.simulation.kafka.broker import Broker
from tests.simulation.kafka.client import SimulatedConsumer
from tests.simulation.patches import METRICS

EXPECTED_ENDS: Final = (ClientStoppedError, InstanceIdTakenError)  # the supervisor starts a new process
SUPERVISOR_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What the processes of one world share."""

    broker: Broker
    server: Server
    settings: ConsumerSettings
    session_seconds: float
    on_violation: Callable[[str], None]


class ConsumerProcess:
    """A consumer under a supervisor. `wanted` is whether it should run; a killed or ended one is started again."""

    def __init__(self, machine: Machine, name: str, instance_id: str | None, clock_offset: float) -> None:
        self.name = name
        self.wanted = False
        self.loop: ProcessLoop | None = None
        self.link: Link | None = None
        self.client: SimulatedConsumer | None = None
        self.health: Health | None = None
        self.past: list[ProcessLoop] = []
        self._machine = machine
        self._instance_id = instance_id
        self._clock_offset = clock_offset
        self._stop: asyncio.Event | None = None

    def start(self) -> None:
        """Start the process, unless it runs or is not wanted."""
        if not self.wanted or self.loop is not None:
            return
        server = self._machine.server
        loop = ProcessLoop(server.scheduler, self._unretrieved)
        loop.machine, loop.clock_offset = self, self._clock_offset
        self.loop, self.link = loop, Link(server, loop, self.name, server.rng)
        self._stop = asyncio.Event()
        task = loop.create_task(self._main(self._stop), name="main")
        task.add_done_callback(self._ended)

    def stop(self) -> None:
        """SIGTERM."""
        if self.loop and self._stop:
            self.loop.call_soon(self._stop.set)
            if self.client:
                self.loop.call_later(self._machine.server.rng.random() * IDLE_FETCH_MS / 1000, self.client.wake)

    def kill(self) -> None:
        """SIGKILL: the sockets are closed by the machine, and the server hears of it."""
        if self.loop is None:
            return
        self.loop.kill()
        if self.client:
            self.client.disconnect()
        for session in self.sessions():
            self._machine.server.scheduler.call_later(0.001, self._machine.server.client_left, session)
        self._forget()

    def vanish(self) -> None:
        """The machine is gone: nothing runs, and neither Kafka nor the database hears of it."""
        if self.loop:
            self.loop.kill()
            if self.client:
                self.client.disconnect()
            self._forget()

    def sessions(self) -> list[Any]:
        """The server's sessions of this process."""
        return [each for each in self._machine.server.sessions.values() if each.owner == self.name]

    def new_client(self) -> SimulatedConsumer:
        assert self.loop is not None
        machine = self._machine
        self.client = SimulatedConsumer(machine.broker, self.loop, self._instance_id, machine.session_seconds)
        return self.client

    async def describe_group(self) -> tuple[Any, ...]:
        """The group as an administrator sees it: a group of DescribeGroupsResponse."""
        assert self.client is not None
        return await self.client.request(self._describe_group)

    def _describe_group(self) -> tuple[Any, ...]:
        group = self._machine.broker.group
        members = [(each, "", "", "", _encode(tuple(group.assignment.get(each, [])))) for each in group.members]
        return 0, "", "Stable" if group.phase == "stable" else "PreparingRebalance", "consumer", "roundrobin", members

    async def _main(self, stop: asyncio.Event) -> None:
        """`consumer.service.run_consumer` without probes, watchdog and signals."""
        assert self.link is not None
        settings = self._machine.settings
        if self._instance_id:
            settings = settings.model_copy(update={"kafka_group_instance_id": self._instance_id})
        self.health = health = Health()
        database: Any = Pool(self.link)
        client = await wait_or_stop(stop, start_client(settings, health))
        if client is None:
            return
        try:
            await run_pipeline(settings, client, database, METRICS, health, stop)
        finally:
            await leave_group(client)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        for each in error.exceptions if isinstance(error, BaseExceptionGroup) else [error]:
            if each is not None and not isinstance(each, EXPECTED_ENDS):
                self.violate(f"ended with {each!r}")
        if self.loop is None or task.get_loop() is not self.loop:
            return
        self.kill()
        self._machine.server.scheduler.call_later(SUPERVISOR_SECONDS, self.start)

    def _forget(self) -> None:
        if self.loop:
            self.past.append(self.loop)
        self.loop = self.link = self.client = self.health = self._stop = None

    def _unretrieved(self, context: dict[str, Any]) -> None:
        self.violate(f"{context.get('message')}: {context.get('exception')!r}")

    def violate(self, what: str) -> None:
        """This process has broken a promise."""
        self._machine.on_violation(f"{self.name}: {what}")

    def dispose(self) -> None:
        """Free what killed and running processes have left."""
        if self.loop:
            self.past.append(self.loop)
        for loop in self.past:
            loop.dispose()


@cache
def _encode(partitions: tuple[TopicPartition, ...]) -> bytes:
    """The assignment of a member as Kafka's clients encode it."""
    topics = sorted({each.topic for each in partitions})
    by_topic = [(topic, [each.partition for each in partitions if each.topic == topic]) for topic in topics]
    encoded: bytes = ConsumerProtocolMemberAssignment(0, by_topic, b"").encode()
    return encoded
