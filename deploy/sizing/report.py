"""The report of the model as lines of text."""

from collections.abc import Iterator
from math import isinf

from deploy.sizing import measured
from deploy.sizing.fleet import Fleet
from deploy.sizing.levels import ASSUMED_PRICES, KEPT_LONGER_DAYS, Prices, core_hours, levels
from deploy.sizing.model import KAFKA_DAYS, KAFKA_REPLICATION_FACTOR, Server, demand, limits, servers


def lines(fleet: Fleet, server: Server, prices: Prices = ASSUMED_PRICES) -> Iterator[str]:
    """Lines with the demand of a fleet, its levels of history, what they cost, and the limits it exceeds."""
    yield f"{fleet.devices:,} devices, a reading every {fleet.interval_seconds:g} s, kept {fleet.retention_days} days"
    for name, value in _demand(fleet):
        yield f"  {name:<12} {value}"
    yield from _levels(fleet, prices)
    yield from _core_hours(fleet, prices)
    yield (
        f"limits of one PostgreSQL server with {server.cores:g} cores, {_bytes(server.disk_bytes)} of disk, "
        f"{_bytes(server.wal_bytes)}/s of WAL, {server.connections} connections"
    )
    for each in limits(fleet, server):
        verdict = f"MET: {each.remedy}" if each.met else "not met"
        yield f"  {each.name:<12} {_share(each.used / each.capacity):>8} taken, full at {_devices(each.devices)}: {verdict}"
    yield f"PostgreSQL servers: {servers(fleet, server):,}"


def _levels(fleet: Fleet, prices: Prices) -> Iterator[str]:
    disk = _price(prices.disk_gb_month, ASSUMED_PRICES.disk_gb_month)
    archive = _price(prices.archive_gb_month, ASSUMED_PRICES.archive_gb_month)
    yield f"levels of history, one copy; a GB and month of the database at {disk}, of the archive at {archive}"
    for level in levels(fleet, prices):
        size, dollars = _bytes(level.size_bytes), f"${level.dollars_a_month:,.2f}"
        note = f" (up to {KEPT_LONGER_DAYS} after RETENTION_DAYS)" if level.name == "folded" and level.days else ""
        yield f"  {level.name:<12} {size:>9} {dollars:>13} a month, {level.days:,} days{note}"


def _core_hours(fleet: Fleet, prices: Prices) -> Iterator[str]:
    yield f"core-hours of a billion readings, each at {_price(prices.core_hour, ASSUMED_PRICES.core_hour)}"
    hours = core_hours(fleet)
    for work, number in {**hours, "in all": sum(hours.values())}.items():
        dollars = f"${number * prices.core_hour:,.2f}"
        yield f"  {work:<12} {number:>9,.2f} {dollars:>13}"


def _price(dollars: float, assumed: float) -> str:
    return f"${dollars:g}" + (" (assumed)" if dollars == assumed else "")


def _demand(fleet: Fleet) -> Iterator[tuple[str, str]]:
    needs = demand(fleet)
    yield "records", f"{needs.records:,.0f}/s, {needs.records * 86_400 / 1e6:,.1f} million a day"
    yield "database", f"{_bytes(needs.disk_bytes)}, of which live status {_bytes(needs.live_bytes)}"
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
    rounds = f"{needs.evaluation_seconds:,.1f} s a round, {needs.rollup_seconds:,.1f} s to roll an hour up"
    yield "maintenance", f"{rounds}, {needs.folding_seconds:,.0f} s to fold a day"


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
