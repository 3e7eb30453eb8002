"""The command line: `python -m deploy.simulator [run] [OPTIONS]` and `python -m deploy.simulator assignments`."""

import asyncio
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Final

import msgspec
import typer
import uvloop

from deploy.simulator.anomalies import Shares
from deploy.simulator.fleet import Assignment, Fleet, assignments, write_assignments
from deploy.simulator.producer import ReadingProducer
from deploy.simulator.readings import Side, assignment_record
from deploy.simulator.run import PATIENCE_S, FleetRun, Plan
from schemas.config.settings import KafkaSettings, from_environment

COMMANDS: Final = ("run", "assignments")
app = typer.Typer(
    help="A fleet of meters and vehicles that publish one reading a minute to Kafka. Without a command: run; its options are "
    "shown by: run --help.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)

Devices = Annotated[int, typer.Option(min=1, help="Vehicles, and as many meters.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same readings at the same time.")]


@app.command()
def run(
    *,
    devices: Devices = 10_000,
    live: Annotated[bool, typer.Option(help="Readings of now, until stopped.")] = True,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds of live readings; default: no end.")] = None,
    speed_up: Annotated[
        float,
        typer.Option(
            min=1,
            help="60 sends an hour in a minute. Begins so far in the past (a day at most) that it catches up with the clock "
            "at the end of --duration, and never passes it.",
        ),
    ] = 1.0,
    backfill_hours: Annotated[
        float, typer.Option(min=0, help="First send so many past hours, as fast as it goes.")
    ] = 0,
    backfill_devices: Annotated[int, typer.Option(min=1, help="Vehicles (and their meters) to backfill.")] = 300,
    rate: Annotated[float | None, typer.Option(min=1, help="At most so many records a second.")] = None,
    duplicate_share: Annotated[float, typer.Option(min=0, max=1, help="Readings sent twice.")] = 0,
    late_share: Annotated[float, typer.Option(min=0, max=1, help="Readings sent 5 to 60 minutes late.")] = 0,
    out_of_order_share: Annotated[
        float, typer.Option(min=0, max=1, help="Readings overtaken by the next one of the device.")
    ] = 0,
    malformed_share: Annotated[
        float, typer.Option(min=0, max=1, help="Malformed records sent on top, per reading.")
    ] = 0,
    faulty_share: Annotated[float, typer.Option(min=0, max=1, help="Vehicles whose charger loses 16 to 30 %.")] = 0.02,
    seed: Seed = 1,
) -> None:
    """Send the fleet's readings; progress on stderr, one JSON line with the counts on stdout at the end.

    Where Kafka is: KAFKA_BOOTSTRAP_SERVERS, KAFKA_METER_TOPIC, KAFKA_VEHICLE_TOPIC, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_*,
    KAFKA_SSL_*. Exit code 1 when Kafka has not acknowledged every record.
    """
    plan = Plan(
        fleet=Fleet(devices, seed, faulty_share),
        shares=Shares(duplicate_share, late_share, out_of_order_share, malformed_share),
        live=live,
        speed_up=speed_up,
        duration_s=duration,
        backfill_hours=backfill_hours,
        backfill_devices=backfill_devices,
        rate=rate,
    )
    summary = uvloop.run(_run(plan, from_environment(KafkaSettings)))
    typer.echo(msgspec.json.encode(summary))
    raise typer.Exit(summary["acknowledged"] != summary["sent"])


@app.command(name="assignments")
def declare(
    *,
    devices: Devices = 10_000,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Send them to KAFKA_ASSIGNMENT_TOPIC instead of printing them.")
    ] = False,
) -> None:
    """Who charges where: VEH-n at METER-n. As the CSV that `python -m sql assign FILE` reads, or as records.

    Sent, they are counted in one JSON line on stdout; exit code 1 when Kafka has not acknowledged every record.
    """
    given = assignments(Fleet(devices))
    if not kafka:
        write_assignments(given)
        return
    summary = uvloop.run(_declare(given, from_environment(KafkaSettings)))
    typer.echo(msgspec.json.encode(summary))
    raise typer.Exit(summary["acknowledged"] != summary["sent"])


async def _declare(given: Iterable[Assignment], settings: KafkaSettings) -> dict[str, int]:
    producer = ReadingProducer(settings, _say, [Side.ASSIGNMENT])
    await producer.start()
    try:
        await producer.send(map(assignment_record, given))
    finally:
        await producer.stop(PATIENCE_S)
    return asdict(producer.tally)


async def _run(plan: Plan, settings: KafkaSettings) -> dict[str, int]:
    fleet = FleetRun(plan, ReadingProducer(settings, _say), _say)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, fleet.stop)
    return await fleet.run()


def _say(text: str) -> None:
    typer.echo(f"fleet: {text}", err=True)


def main() -> None:
    """Run the command; `run` when none is named."""
    arguments = sys.argv[1:]
    named = arguments and (arguments[0] in COMMANDS or arguments[0] == "--help")
    app(arguments if named else ["run", *arguments], prog_name="python -m deploy.simulator")


if __name__ == "__main__":
    main()
