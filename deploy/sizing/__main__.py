"""`python -m deploy.sizing`: how much of everything a fleet takes, and which limit it meets first."""

import json
from dataclasses import asdict
from math import isinf
from typing import Annotated

import typer

from deploy.sizing.model import Fleet, Server, demand, limits, servers
from deploy.sizing.report import lines


def main(
    *,
    devices: Annotated[int, typer.Option(min=1, help="Vehicles and meters together.")],
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds from one reading of a device to the next.")] = 60,
    retention_days: Annotated[int, typer.Option(min=1, help="How long history is kept (RETENTION_DAYS).")] = 400,
    headroom: Annotated[float, typer.Option(min=1, help="How many times the fleet's own rate must be possible.")] = 3,
    requests: Annotated[float, typer.Option(min=0, help="Questions about one vehicle, a second.")] = 10,
    pool_size: Annotated[int, typer.Option(min=1, help="Connections of one read service (DATABASE_POOL_SIZE).")] = 20,
    server_cores: Annotated[float, typer.Option(min=1, help="Of one PostgreSQL server.")] = 32,
    server_disk_tb: Annotated[float, typer.Option(min=0.001, help="Of one PostgreSQL server, in TB.")] = 30,
    server_wal_mb: Annotated[float, typer.Option(min=1, help="MB of WAL a second that it bears.")] = 200,
    server_connections: Annotated[int, typer.Option(min=1, help="Its max_connections.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """Multiply what was measured (docs/benchmarks.md). A model: measure with your own machines before you buy."""
    fleet = Fleet(devices, interval, retention_days, headroom, requests, pool_size)
    server = Server(server_cores, server_disk_tb * 1e12, server_wal_mb * 1e6, server_connections)
    if not as_json:
        typer.echo("\n".join(lines(fleet, server)))
        return
    met = [
        {"limit": each.name, "met": each.met, "at_devices": None if isinf(each.devices) else round(each.devices)}
        for each in limits(fleet, server)
    ]
    typer.echo(json.dumps({"demand": asdict(demand(fleet)), "limits": met, "servers": servers(fleet, server)}))


if __name__ == "__main__":
    typer.run(main)
