"""What happens to a cluster: one method for each kind of fault, and the end of all of them."""

from collections.abc import Callable
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, RequestTimedOutError

from tests.simulation.cluster import Cluster
from tests.simulation.kafka.log import PartitionLog
from tests.simulation.plan import FIRST_INSTANT, Fault, Produce, Reading
from tests.simulation.process import ConsumerProcess

# What a server answers to one statement: (class of the error, its text).
STATEMENT_ERRORS: Final[tuple[tuple[type[asyncpg.PostgresError], str], ...]] = (
    (asyncpg.SerializationError, "could not serialize access"),
    (asyncpg.TooManyConnectionsError, "sorry, too many clients already"),
    (asyncpg.DiskFullError, "could not extend file"),
    (asyncpg.QueryCanceledError, "canceling statement due to statement timeout"),
    (asyncpg.ReadOnlySQLTransactionError, "cannot execute UPDATE in a read-only transaction"),
)


class Faults:
    """Applies faults, and remembers what has to be ended."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ends: list[Callable[[], None]] = []

    def begin(self, fault: Fault) -> None:
        """Let a fault happen, unless both topics are deleted just now."""
        if not self._cluster.broker.logs:
            return
        self._cluster.counts[fault.kind] += 1
        getattr(self, "_" + fault.kind.replace(" ", "_"))(fault)

    def end_all(self) -> None:
        """End all faults that still last, and start what should run."""
        while self._ends:
            self._ends[0]()
        for partition, log in self._cluster.broker.logs.items():
            for producer in list(log.open_transactions):  # whose end a truncation has lost: an operator aborts it
                self._cluster.produce(Produce(0.0, partition.topic, partition.partition, None, producer, "abort"))
        for process in self._cluster.processes:
            process.start()

    def _later(self, seconds: float, end: Callable[[], None]) -> None:
        """End a fault after some seconds, or when all are ended."""

        def once() -> None:
            if once in self._ends:
                self._ends.remove(once)
                end()

        self._ends.append(once)
        self._cluster.scheduler.call_later(seconds, once)

    def _process(self, fault: Fault) -> ConsumerProcess:
        return self._cluster.processes[fault.process]

    def _partition(self, fault: Fault) -> TopicPartition:
        partitions = sorted(self._cluster.broker.logs)
        return partitions[fault.partition % len(partitions)]

    # Processes

    def _kill(self, fault: Fault) -> None:
        process = self._process(fault)
        process.kill()
        self._later(fault.seconds, process.start)

    def _stop(self, fault: Fault) -> None:
        process = self._process(fault)
        process.wanted = False
        process.stop()

        def start() -> None:
            process.wanted = True
            process.start()

        self._later(fault.seconds, start)

    def _freeze(self, fault: Fault) -> None:
        process, server = self._process(fault), self._cluster.server
        loop = process.loop
        if loop is None:
            return
        loop.freeze()
        for session in process.sessions():
            session.subject_to_timeouts = fault.choice % 3 > 0
        for seconds in (10.0, 10.5):
            self._cluster.scheduler.call_later(seconds, server.end_idle_transactions, process.name)
        self._later(fault.seconds, loop.thaw)

    def _host_lost(self, fault: Fault) -> None:
        """The machine is gone without a word: its sessions stay, and a new process starts elsewhere."""
        process = self._process(fault)
        for session in process.sessions():
            session.subject_to_timeouts = False
        process.vanish()
        self._later(fault.seconds, process.start)

    def _join(self, fault: Fault) -> None:
        if len(self._cluster.processes) < self._cluster.plan.processes + 2:
            process = self._cluster.add_process()
            self._later(fault.seconds, lambda: self._dismiss(process))

    def _dismiss(self, process: ConsumerProcess) -> None:
        process.wanted = False
        process.stop()

    # Kafka

    def _kafka_cut_off(self, fault: Fault) -> None:
        client = self._process(fault).client
        if client:
            client.cut_off()
            self._later(fault.seconds, client.reconnect)

    def _kafka_away(self, fault: Fault) -> None:
        self._cluster.broker.away = True
        self._later(fault.seconds, self._cluster.broker.come_back)

    def _kafka_error(self, fault: Fault) -> None:
        self._cluster.broker.fetch_error = KafkaError("injected") if fault.choice % 2 else RequestTimedOutError()

    def _leaderless(self, fault: Fault) -> None:
        log = self._cluster.broker.logs[self._partition(fault)]
        log.leader = False

        def elect() -> None:
            log.absences += 1
            log.leader = True
            self._cluster.broker.changed()

        self._later(fault.seconds, elect)

    def _retention(self, fault: Fault) -> None:
        """Delete what has been read, and sometimes what has not: then the partition halts until the operator accepts it."""
        cluster, partition = self._cluster, self._partition(fault)
        log = cluster.broker.logs[partition]
        row = cluster.server.tables["offsets"].get((partition.topic, partition.partition))
        if row is None:
            return
        beyond = fault.choice % 3 if fault.choice % 2 else 0
        if log.delete_before(min(row.next + beyond, log.end)) and beyond:
            cluster.invariants.lossy.add(partition)

    def _truncation(self, fault: Fault) -> None:
        """No leader for a while, then one whose log lacks the last records: another broker, or the same one again."""
        cluster, partition = self._cluster, self._partition(fault)
        log = cluster.broker.logs[partition]
        log.leader = False

        def elect() -> None:
            end = log.end - 1 - fault.choice % 4
            if cluster.broker.logs.get(partition) is log:
                cluster.invariants.past.setdefault(partition, []).append(log.copy())
                cluster.invariants.lossy.add(partition)
                log.truncate(end)
            log.absences += 1
            log.elections += bool(fault.choice % 3)
            log.leader = True
            cluster.broker.changed()

        self._later(fault.seconds, elect)

    def _topic_anew(self, fault: Fault) -> None:
        """A topic is deleted, and created again some seconds later."""
        cluster, topic = self._cluster, self._partition(fault).topic
        deleted = [partition for partition in cluster.broker.logs if partition.topic == topic]
        for partition in deleted:
            cluster.invariants.past.setdefault(partition, []).append(cluster.broker.logs.pop(partition))
            cluster.invariants.lossy.add(partition)
        cluster.broker.changed()

        def create() -> None:
            for partition in deleted:
                before = cluster.invariants.past[partition][-1]
                cluster.broker.logs[partition] = PartitionLog(
                    partition, before.incarnation + 1, elections=before.elections + 1, absences=before.absences + 1
                )
            cluster.broker.changed()

        self._later(fault.seconds, create)

    def _open_transaction(self, fault: Fault) -> None:
        """A producer that does not end its transaction: what is behind it cannot be read."""
        partition = self._partition(fault)
        producer = 1000 + int(fault.at * 1000)
        reading = Reading(f"{partition.topic}-hanging", FIRST_INSTANT, float(fault.choice % 7))
        self._cluster.produce(Produce(0.0, partition.topic, partition.partition, reading, producer))
        action = "abort" if fault.choice % 2 else "commit"
        ended = Produce(0.0, partition.topic, partition.partition, None, producer, action)
        self._later(fault.seconds, lambda: self._cluster.produce(ended))

    def _new_partition(self, fault: Fault) -> None:
        """A topic gets one more partition; the leader of the group rejoins once it knows of it."""
        broker, topic = self._cluster.broker, self._partition(fault).topic
        partition = TopicPartition(topic, len(broker.partitions_of([topic])))
        broker.logs[partition] = PartitionLog(partition)
        for process in self._cluster.processes:
            if process.client and process.loop and process.client.leads:
                self._cluster.scheduler.call_later(fault.seconds, process.loop.call_soon, process.client.request_rejoin)

    def _invalid_records(self, fault: Fault) -> None:
        """Enough of them to open the breaker."""
        partition = self._partition(fault)
        for number in range(12):
            reading = Reading("", FIRST_INSTANT, float(number), valid=False)
            self._cluster.produce(Produce(0.0, partition.topic, partition.partition, reading))

    # The database

    def _database_crash(self, fault: Fault) -> None:
        server = self._cluster.server
        server.crash()

        def start() -> None:
            server.up = True

        self._later(fault.seconds, start)

    def _failover(self, fault: Fault) -> None:
        """An asynchronous standby is promoted: the last commits are gone, and with them rows that were read back."""
        server = self._cluster.server
        lost = server.crash(lost_seconds=(0.0, 0.2, 1.0, 3.0)[fault.choice % 4])
        self._cluster.counts["commit lost in a failover"] += lost
        self._cluster.invariants.lossy.update(self._cluster.broker.logs)

        def start() -> None:
            server.up = True

        self._later(fault.seconds, start)

    def _database_silent(self, fault: Fault) -> None:
        """The network to the server loses everything: for one process, or for all."""
        for process in self._some(fault):
            link = process.link
            if link:
                link.silent = True
                self._later(fault.seconds, link.recover)

    def _database_slow(self, fault: Fault) -> None:
        for process in self._some(fault):
            link: Any = process.link
            if link:
                link.slowness = (20.0, 200.0, 800.0)[fault.choice % 3]

                def recover(link: Any = link) -> None:
                    link.slowness = 1.0

                self._later(fault.seconds, recover)

    def _connections_cut(self, fault: Fault) -> None:
        error = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        for process in self._some(fault):
            for session in process.sessions():
                self._cluster.server.end(session, error)

    def _session_terminated(self, fault: Fault) -> None:
        sessions = list(self._cluster.server.sessions.values())
        if sessions:
            error = asyncpg.AdminShutdownError("terminating connection due to administrator command")
            self._cluster.server.end(sessions[fault.choice % len(sessions)], error)

    def _commit_lost(self, fault: Fault) -> None:
        link = self._process(fault).link
        if link:
            link.lose_commit = "after" if fault.choice % 3 else "before"

    def _statement_error(self, fault: Fault) -> None:
        link = self._process(fault).link
        if link:
            error, text = STATEMENT_ERRORS[fault.choice % len(STATEMENT_ERRORS)]
            link.fail_next = error(text)

    def _some(self, fault: Fault) -> list[ConsumerProcess]:
        return self._cluster.processes if fault.choice % 2 else [self._process(fault)]
