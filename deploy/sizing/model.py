"""The arithmetic of the model: fleet -> demand -> limits of one PostgreSQL server -> number of servers."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from deploy.sizing import measured
from deploy.sizing.fleet import DAY, Fleet
from deploy.sizing.levels import levels

CONNECTIONS_OF_A_CONSUMER: Final = 13  # at most; a test compares it with the consumer's pool
OTHER_CONNECTIONS: Final = 10  # maintenance, metrics and people
KAFKA_DAYS: Final = 7
KAFKA_REPLICATION_FACTOR: Final = 3
MIN_PARTITIONS: Final = 8
MAX_PARTITIONS: Final = 1024  # of a topic, unless there are more consumers
DEVICES_PER_PARTITION: Final = (
    8_000  # so that what one fetch brings of a partition holds several readings of each device
)


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server: cores, bytes of disk, bytes of WAL per second that disk and network sustain, connections."""

    cores: float = 32
    disk_bytes: float = 30e12
    wal_bytes: float = 200e6
    connections: int = 500


@dataclass(frozen=True, slots=True)
class Demand:
    """Resources that a fleet needs: bytes, records and bytes per second, cores, numbers of processes."""

    records: float
    rows_bytes: float
    folded_bytes: float
    archive_bytes: float
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
    folding_seconds: float

    @property
    def disk_bytes(self) -> float:
        """Total size of the database, without free space and without the archive."""
        return self.rows_bytes + self.folded_bytes + self.live_bytes


@dataclass(frozen=True, slots=True)
class Limit:
    """A limited resource: its use, its capacity, the number of devices that exhausts it, and the remedy."""

    name: str
    used: float
    capacity: float
    devices: float
    remedy: str

    @property
    def met(self) -> bool:
        return self.used > self.capacity


def demand(fleet: Fleet) -> Demand:
    records = fleet.records
    size = {level.name: level.size_bytes for level in levels(fleet)}
    peak = records * fleet.headroom
    consumers = max(2, ceil(peak / measured.DRAIN_RECORDS))
    api_replicas = max(2, ceil(fleet.requests / (measured.REQUESTS / 2)))
    evaluation = fleet.devices / 2 / measured.EVALUATED_VEHICLES * measured.EVALUATION_SECONDS
    rollup = fleet.devices / measured.ROLLED_UP_DEVICES * measured.ROLLUP_SECONDS
    folding = records * DAY * measured.FOLDING_MICROSECONDS / 1e6
    postgres_cores = (
        peak * measured.POSTGRES_MICROSECONDS / 1e6
        + folding / DAY
        + evaluation / 60
        + rollup / 3600
        + fleet.requests * 2 / measured.REQUESTS
    )
    return Demand(
        records=records,
        rows_bytes=size["rows"],
        folded_bytes=size["folded"],
        archive_bytes=size["archive"],
        live_bytes=fleet.devices * measured.LIVE_BYTES,
        wal_bytes=records * measured.WAL_BYTES,
        kafka_bytes=records * measured.RECORD_BYTES,
        kafka_stored_bytes=records * measured.RECORD_BYTES * DAY * KAFKA_DAYS * KAFKA_REPLICATION_FACTOR,
        consumers=consumers,
        partitions=partitions_of(fleet.devices, consumers),
        consumer_cores=peak * measured.CONSUMER_MICROSECONDS / 1e6,
        kafka_cores=peak * measured.KAFKA_MICROSECONDS / 1e6,
        postgres_cores=postgres_cores,
        api_replicas=api_replicas,
        connections=consumers * CONNECTIONS_OF_A_CONSUMER + api_replicas * fleet.pool_size + OTHER_CONNECTIONS,
        evaluation_seconds=evaluation,
        rollup_seconds=rollup,
        folding_seconds=folding,
    )


def partitions_of(devices: float, consumers: int = 1) -> int:
    """Partitions of each of the two topics of so many devices."""
    for_devices = min(MAX_PARTITIONS, ceil(devices / 2 / DEVICES_PER_PARTITION))
    return max(MIN_PARTITIONS, _power_of_two(max(consumers, for_devices)))


def limits(fleet: Fleet, server: Server) -> list[Limit]:
    """Limits of one PostgreSQL server and one round of maintenance, in the order in which a growing fleet reaches them."""
    return sorted(_limits(fleet, demand(fleet), server), key=lambda limit: limit.devices)


def _limits(fleet: Fleet, needs: Demand, server: Server) -> Iterator[Limit]:
    def limit(name: str, used: float, capacity: float, remedy: str, fixed: float = 0) -> Limit:
        per_device = (used - fixed) / fleet.devices
        devices = max(0.0, (capacity - fixed) / per_device) if per_device > 0 else inf
        return Limit(name, used, capacity, devices, remedy)

    request_cores = fleet.requests * 2 / measured.REQUESTS
    yield limit(
        "disk", needs.disk_bytes, server.disk_bytes, "fewer RETENTION_DAYS, and the archive for the rest; or shards"
    )
    yield limit("cores", needs.postgres_cores, server.cores, "a larger server, or shards", request_cores)
    yield limit("WAL", needs.wal_bytes, server.wal_bytes, "faster disks, or shards")
    yield limit("evaluation", needs.evaluation_seconds, 60, "a larger MAINTAIN_INTERVAL_SECONDS, or shards")
    yield limit("folding", needs.folding_seconds, DAY, "shards")
    yield limit("rollups", needs.rollup_seconds, 3600, "shards")
    yield Limit(
        "connections",
        needs.connections,
        server.connections,
        _devices_within(fleet, server.connections),
        "a smaller DATABASE_POOL_SIZE, more max_connections, or a pooler for the API",
    )


def _devices_within(fleet: Fleet, connections: int) -> float:
    """The number of devices whose consumers use all connections that the rest leaves."""
    others = demand(fleet).api_replicas * fleet.pool_size + OTHER_CONNECTIONS
    consumers = (connections - others) // CONNECTIONS_OF_A_CONSUMER
    return max(0.0, consumers * measured.DRAIN_RECORDS / fleet.headroom * fleet.interval_seconds)


def servers(fleet: Fleet, server: Server) -> int:
    """Number of PostgreSQL servers that share the fleet evenly. Connections are not divided among them."""
    shared = [each for each in limits(fleet, server) if each.name != "connections"]
    return max(1, *(ceil(each.used / each.capacity) for each in shared))


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
