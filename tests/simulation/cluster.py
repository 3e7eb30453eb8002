"""The parts of one world: scheduler, broker, database, and the consumer processes; what faults and operators act on."""

from collections import Counter
from random import Random
from typing import Final

from aiokafka import TopicPartition

from consumer.settings import ConsumerSettings
from tests.simulation.database.server import Server
from tests.simulation.database.statements import EPOCH
from tests.simulation.event_loop import Scheduler
from tests.simulation.invariants import Invariants
from tests.simulation.kafka.broker import Broker
from tests.simulation.kafka.log import PartitionLog
from tests.simulation.plan import Plan, Produce, encode
from tests.simulation.process import ConsumerProcess, Machine


class Cluster:
    """Built from a plan; `violation` is the first thing that did not hold."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = Random(plan.seed ^ 0x5EED)
        self.scheduler = Scheduler(self.rng, plan.haste)
        self.broker = Broker(self.scheduler, self.rng, plan.session_seconds)
        self.invariants = Invariants(self.broker)
        self.server = Server(self.scheduler, self.rng, self.invariants.check)
        self.counts: Counter[str] = Counter()
        self.violation: str | None = None
        self.processes: list[ConsumerProcess] = []
        self._machine = Machine(self.broker, self.server, _settings(plan), plan.session_seconds, self.violate)
        for topic, count in plan.partitions.items():
            for number in range(count):
                partition = TopicPartition(topic, number)
                self.broker.logs[partition] = PartitionLog(partition)

    def add_process(self) -> ConsumerProcess:
        """One more consumer, which is started at once."""
        number = len(self.processes)
        instance_id = f"consumer-{number}" if self.plan.static_members else None
        offset = self.plan.clock_offsets[number % len(self.plan.clock_offsets)]
        process = ConsumerProcess(self._machine, f"consumer-{number}", instance_id, offset)
        self.processes.append(process)
        process.wanted = True
        process.start()
        return process

    def violate(self, what: str) -> None:
        """Record a violation; the first one ends the run."""
        if self.violation is None:
            self.violation = what
        self.scheduler.stop()

    def violated(self) -> bool:
        return self.violation is not None

    def produce(self, event: Produce) -> None:
        """Append to a log what the plan says."""
        log = self.broker.logs.get(TopicPartition(event.topic, event.partition))
        if log is None:
            return  # the topic is deleted
        timestamp = int((EPOCH + self.scheduler.now) * 1000)
        if event.reading is not None:
            value = encode(event.topic, event.reading)
            log.append(value, event.reading.device.encode(), timestamp, event.reading, event.producer)
        elif event.action == "hole":
            log.skip(2)
            self.counts["hole in a log"] += 1
        elif event.producer is not None:
            log.end_transaction(event.producer, abort=event.action == "abort", timestamp=timestamp)
            self.counts[f"transaction: {event.action}"] += 1
        self.broker.changed()

    def totals(self) -> Counter[str]:
        """How often each fault happened, and what came of it."""
        totals = self.counts + Counter(self.server.counts)
        totals["member evicted from the group"] += self.broker.group.evicted
        totals["commit refused by Kafka"] += self.broker.group.refused_commits
        totals["rebalance"] += self.broker.group.generation
        return totals


def _settings(plan: Plan) -> ConsumerSettings:
    return _BASE.model_copy(
        update={
            "kafka_session_timeout_ms": int(plan.session_seconds * 1000),
            "batch_max_records": plan.batch_records,
            "batch_max_wait_ms": plan.batch_wait_ms,
        }
    )


_BASE: Final = ConsumerSettings(
    _env_file=None,
    database_url="postgresql://simulated/simulated",
    kafka_bootstrap_servers="simulated:9092",
    kafka_meter_topic="meters",
    kafka_vehicle_topic="vehicles",
    kafka_assignment_topic="assignments",
    breaker_window_records=8,
    shutdown_timeout_seconds=5,
)
