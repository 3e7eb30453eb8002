"""fleet -> demand -> limits of one PostgreSQL server -> servers: pure arithmetic."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from deploy.sizing import measured

DAY: Final = 86_400
CONNECTIONS_OF_A_CONSUMER: Final = 8  # at most, as in consumer/__main__.py: a test compares
CONNECTIONS_BESIDE: Final = 10  # maintenance, metrics and people
KAFKA_DAYS: Final = 7
KAFKA_COPIES: Final = 3
FEWEST_PARTITIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is asked for. Half of the devices are vehicles, half are meters.

    `headroom`: how many times the fleet's own rate must be possible; at 3 an outage of an hour is caught up in half an hour.
    `requests`: questions about one vehicle, a second.
    """

    devices: int
    interval_seconds: float = 60
    retention_days: int = 400
    headroom: float = 3
    requests: float = 10
    pool_size: int = 20


@dataclass(frozen=True, slots=True)
class Server:
    """One PostgreSQL server: cores, bytes of disk, bytes of WAL a second that disk and network bear, connections."""

    cores: float = 32
    disk_bytes: float = 30e12
    wal_bytes: float = 200e6
    connections: int = 500


@dataclass(frozen=True, slots=True)
class Demand:
    """What a fleet takes; bytes, records and questions a second, cores, numbers of processes."""

    records: float
    history_bytes: float
    packed_bytes: float
    rollup_bytes: float
    live_bytes: float
    wal_bytes: float
    kafka_bytes: float
    kafka_stored_bytes: float
    consumers: int
    partitions: int
    consumer_cores: float
    kafka_cores: float
    postgres_cores: float
    api_replicas: int
    connections: int
    evaluation_seconds: float
    rollup_seconds: float

    @property
    def disk_bytes(self) -> float:
        """All that the database holds, without room to work in."""
        return self.history_bytes + self.rollup_bytes + self.live_bytes


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that ends: how much of it is taken, how much there is, from how many devices on, and what to do then."""

    name: str
    taken: float
    there_is: float
    devices: float
    then: str

    @property
    def met(self) -> bool:
        """Whether this fleet is beyond it."""
        return self.taken > self.there_is


def demand(fleet: Fleet) -> Demand:
    """What a fleet takes."""
    records = fleet.devices / fleet.interval_seconds
    kept = records * DAY * fleet.retention_days
    peak = records * fleet.headroom
    consumers = max(2, ceil(peak / measured.DRAIN_RECORDS))
    api_replicas = max(2, ceil(fleet.requests / (measured.REQUESTS / 2)))
    evaluation = fleet.devices / 2 / measured.EVALUATED_VEHICLES * measured.EVALUATION_SECONDS
    rollup = fleet.devices / measured.ROLLED_UP_DEVICES * measured.ROLLUP_SECONDS
    postgres_cores = (
        peak * measured.POSTGRES_MICROSECONDS / 1e6
        + evaluation / 60
        + rollup / 3600
        + fleet.requests * 2 / measured.REQUESTS
    )
    return Demand(
        records=records,
        history_bytes=kept * (measured.TABLE_BYTES + measured.INDEX_BYTES),
        packed_bytes=kept * (measured.TABLE_BYTES + measured.INDEX_BYTES_PACKED),
        rollup_bytes=fleet.devices * 24 * fleet.retention_days * measured.ROLLUP_BYTES,
        live_bytes=fleet.devices * measured.LIVE_BYTES,
        wal_bytes=records * measured.WAL_BYTES,
        kafka_bytes=records * measured.RECORD_BYTES,
        kafka_stored_bytes=records * measured.RECORD_BYTES * DAY * KAFKA_DAYS * KAFKA_COPIES,
        consumers=consumers,
        partitions=max(FEWEST_PARTITIONS, _power_of_two(consumers)),
        consumer_cores=peak * measured.CONSUMER_MICROSECONDS / 1e6,
        kafka_cores=peak * measured.KAFKA_MICROSECONDS / 1e6,
        postgres_cores=postgres_cores,
        api_replicas=api_replicas,
        connections=consumers * CONNECTIONS_OF_A_CONSUMER + api_replicas * fleet.pool_size + CONNECTIONS_BESIDE,
        evaluation_seconds=evaluation,
        rollup_seconds=rollup,
    )


def limits(fleet: Fleet, server: Server) -> list[Limit]:
    """What ends with one PostgreSQL server and one round of maintenance, in the order in which a growing fleet meets it."""
    return sorted(_limits(fleet, demand(fleet), server), key=lambda limit: limit.devices)


def _limits(fleet: Fleet, needs: Demand, server: Server) -> Iterator[Limit]:
    def limit(name: str, taken: float, there_is: float, then: str, fixed: float = 0) -> Limit:
        grows = (taken - fixed) / fleet.devices
        return Limit(name, taken, there_is, max(0.0, (there_is - fixed) / grows) if grows > 0 else inf, then)

    asked = fleet.requests * 2 / measured.REQUESTS
    yield limit("disk", needs.disk_bytes, server.disk_bytes, "fewer RETENTION_DAYS and the archive, or shards")
    yield limit("cores", needs.postgres_cores, server.cores, "a larger server, or shards", asked)
    yield limit("WAL", needs.wal_bytes, server.wal_bytes, "faster disks, or shards")
    yield limit("evaluation", needs.evaluation_seconds, 60, "a larger MAINTAIN_INTERVAL_SECONDS, or shards")
    yield limit("rollups", needs.rollup_seconds, 3600, "shards")
    yield Limit(
        "connections",
        needs.connections,
        server.connections,
        _devices_within(fleet, server.connections),
        "a smaller DATABASE_POOL_SIZE, more max_connections, or a pooler for the API",
    )


def _devices_within(fleet: Fleet, connections: int) -> float:
    """The most devices whose consumers leave room for the rest."""
    beside = demand(fleet).api_replicas * fleet.pool_size + CONNECTIONS_BESIDE
    consumers = (connections - beside) // CONNECTIONS_OF_A_CONSUMER
    return max(0.0, consumers * measured.DRAIN_RECORDS / fleet.headroom * fleet.interval_seconds)


def servers(fleet: Fleet, server: Server) -> int:
    """How many PostgreSQL servers share the fleet, each with its part of everything; connections are not shared out."""
    shared = [each for each in limits(fleet, server) if each.name != "connections"]
    return max(1, *(ceil(each.taken / each.there_is) for each in shared))


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
