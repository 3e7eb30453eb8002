"""The command `python -m deploy.sizing`, which prints the resources a fleet needs and the limits it exceeds."""

import json
from dataclasses import asdict
from math import isinf

import typer

from deploy.sizing import options
from deploy.sizing.fleet import Fleet
from deploy.sizing.levels import ASSUMED_PRICES, Prices, core_hours, levels
from deploy.sizing.model import Server, demand, limits, servers
from deploy.sizing.report import lines


def main(
    *,
    devices: options.Devices,
    interval: options.Interval = 60,
    exact_cadence: options.ExactCadence = False,
    late_share: options.LateShare = 0.01,
    fold_after_days: options.FoldAfterDays = 3,
    retention_days: options.RetentionDays = 400,
    archive_days: options.ArchiveDays = 730,
    headroom: options.Headroom = 3,
    requests: options.Requests = 10,
    pool_size: options.PoolSize = 20,
    disk_price: options.DiskPrice = ASSUMED_PRICES.disk_gb_month,
    archive_price: options.ArchivePrice = ASSUMED_PRICES.archive_gb_month,
    core_hour_price: options.CoreHourPrice = ASSUMED_PRICES.core_hour,
    server_cores: options.ServerCores = 32,
    server_disk_tb: options.ServerDisk = 30,
    server_wal_mb: options.ServerWal = 200,
    server_connections: options.ServerConnections = 500,
    as_json: options.AsJson = False,
) -> None:
    """Estimate resources by multiplying measurements (docs/benchmarks.md). A model: measure on your own machines first.

    Prints what a fleet needs, the size and price of each level of history (rows, folded days, archive), the core-hours of a
    billion readings, and the limits of one PostgreSQL server.
    """
    fleet = Fleet(
        devices, interval, retention_days, headroom, requests, pool_size, fold_after_days, archive_days, exact_cadence,
        late_share,
    )  # fmt: skip
    server = Server(server_cores, server_disk_tb * 1e12, server_wal_mb * 1e6, server_connections)
    prices = Prices(disk_price, archive_price, core_hour_price)
    typer.echo(json.dumps(_results(fleet, server, prices)) if as_json else "\n".join(lines(fleet, server, prices)))


def _results(fleet: Fleet, server: Server, prices: Prices) -> dict[str, object]:
    found = [
        {"limit": each.name, "met": each.met, "at_devices": None if isinf(each.devices) else round(each.devices)}
        for each in limits(fleet, server)
    ]
    return {
        "demand": asdict(demand(fleet)),
        "levels": [asdict(level) for level in levels(fleet, prices)],
        "core_hours_per_billion_readings": core_hours(fleet),
        "prices": asdict(prices),
        "limits": found,
        "servers": servers(fleet, server),
    }


if __name__ == "__main__":
    typer.run(main)
