"""The report of the model as lines of text."""

from collections.abc import Iterator
from math import isinf

from deploy.sizing import measured
from deploy.sizing.model import KAFKA_DAYS, KAFKA_REPLICATION_FACTOR, Fleet, Server, demand, limits, servers


def lines(fleet: Fleet, server: Server) -> Iterator[str]:
    """Lines with the demand of a fleet and the limits it exceeds."""
    yield f"{fleet.devices:,} devices, a reading every {fleet.interval_seconds:g} s, kept {fleet.retention_days} days"
    for name, value in _demand(fleet):
        yield f"  {name:<12} {value}"
    yield (
        f"limits of one PostgreSQL server with {server.cores:g} cores, {_bytes(server.disk_bytes)} of disk, "
        f"{_bytes(server.wal_bytes)}/s of WAL, {server.connections} connections"
    )
    for each in limits(fleet, server):
        verdict = f"MET: {each.remedy}" if each.met else "not met"
        yield f"  {each.name:<12} {_share(each.used / each.capacity):>8} taken, full at {_devices(each.devices)}: {verdict}"
    yield f"PostgreSQL servers: {servers(fleet, server):,}"


def _demand(fleet: Fleet) -> Iterator[tuple[str, str]]:
    needs = demand(fleet)
    yield "records", f"{needs.records:,.0f}/s, {needs.records * 86_400 / 1e6:,.1f} million a day"
    yield "history", _bytes(needs.history_bytes)
    yield "rollups", f"{_bytes(needs.rollup_bytes)}; live status {_bytes(needs.live_bytes)}"
    yield "WAL", f"{_bytes(needs.wal_bytes)}/s, {_bytes(needs.wal_bytes * 86_400)} a day to each replica and archive"
    stored = f"{_bytes(needs.kafka_stored_bytes)} for {KAFKA_DAYS} days and {KAFKA_REPLICATION_FACTOR} copies"
    yield "Kafka", f"{_bytes(needs.kafka_bytes)}/s uncompressed, {stored}"
    yield (
        "consumers",
        f"{needs.consumers:,} to drain {fleet.headroom:g} times the rate; {needs.partitions:,} partitions a topic",
    )
    cores = {"consumers": needs.consumer_cores, "PostgreSQL": needs.postgres_cores, "Kafka": needs.kafka_cores}
    yield "cores", ", ".join(f"{number:,.2f} {name}" for name, number in cores.items()) + ", while it catches up"
    yield "memory", f"{needs.consumers * measured.CONSUMER_MEBIBYTES / 1024:,.1f} GiB of consumers"
    yield (
        "API",
        f"{needs.api_replicas:,} processes for {fleet.requests:g} requests/s; {needs.connections:,} connections in all",
    )
    yield "maintenance", f"{needs.evaluation_seconds:,.1f} s a round, {needs.rollup_seconds:,.1f} s to roll an hour up"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:  # noqa: PLR2004
            return f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} PB"


def _share(part: float) -> str:
    return f"{part:,.2%}" if part < 10 else f"{part:,.0f} times"  # noqa: PLR2004


def _devices(number: float) -> str:
    return "no number of devices" if isinf(number) else f"{number:,.0f} devices"
