"""The command `python -m deploy.sizing`, which prints the resources a fleet needs and the limits it exceeds."""

import json
from dataclasses import asdict
from math import isinf
from typing import Annotated

import typer

from deploy.sizing.model import Fleet, Server, demand, limits, servers
from deploy.sizing.report import lines


def main(
    *,
    devices: Annotated[int, typer.Option(min=1, help="Number of vehicles and meters together.")],
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two readings of a device.")] = 60,
    retention_days: Annotated[int, typer.Option(min=1, help="Days for which history is kept (RETENTION_DAYS).")] = 400,
    headroom: Annotated[
        float, typer.Option(min=1, help="Required throughput as a multiple of the fleet's own rate.")
    ] = 3,
    requests: Annotated[float, typer.Option(min=0, help="Requests for one vehicle, per second.")] = 10,
    pool_size: Annotated[int, typer.Option(min=1, help="Connections of one API process (DATABASE_POOL_SIZE).")] = 20,
    server_cores: Annotated[float, typer.Option(min=1, help="Cores of one PostgreSQL server.")] = 32,
    server_disk_tb: Annotated[float, typer.Option(min=0.001, help="Disk of one PostgreSQL server, in TB.")] = 30,
    server_wal_mb: Annotated[
        float, typer.Option(min=1, help="WAL that one PostgreSQL server sustains, in MB/s.")
    ] = 200,
    server_connections: Annotated[int, typer.Option(min=1, help="max_connections of one PostgreSQL server.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead of text.")] = False,
) -> None:
    """Estimate resources by multiplying measurements (docs/benchmarks.md). A model: measure on your own machines first."""
    fleet = Fleet(devices, interval, retention_days, headroom, requests, pool_size)
    server = Server(server_cores, server_disk_tb * 1e12, server_wal_mb * 1e6, server_connections)
    if not as_json:
        typer.echo("\n".join(lines(fleet, server)))
        return
    results = [
        {"limit": each.name, "met": each.met, "at_devices": None if isinf(each.devices) else round(each.devices)}
        for each in limits(fleet, server)
    ]
    typer.echo(json.dumps({"demand": asdict(demand(fleet)), "limits": results, "servers": servers(fleet, server)}))


if __name__ == "__main__":
    typer.run(main)
