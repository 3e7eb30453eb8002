"""The commands `python -m deploy.simulator [run] [OPTIONS]` and `python -m deploy.simulator assignments`."""

import asyncio
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final

import msgspec
import typer
import uvloop

from deploy.simulator.anomalies import AnomalyShares
from deploy.simulator.fleet import Assignment, Fleet, assignments, write_assignments
from deploy.simulator.producer import ReadingProducer, SimulatorSettings
from deploy.simulator.readings import RecordType, assignment_record
from deploy.simulator.run import SHUTDOWN_TIMEOUT_S, FleetRun, Plan
from schemas.config.settings import KafkaSettings, from_environment
from schemas.tracing.settings import start_tracer

COMMANDS: Final = ("run", "assignments")
app = typer.Typer(
    help="A simulated fleet of meters and vehicles that publish one reading a minute to Kafka. The default command is run; "
    "run --help shows its options.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)

Devices = Annotated[int, typer.Option(min=1, help="Number of vehicles, and of meters.")]
Seed = Annotated[int, typer.Option(help="The same seed produces the same readings at the same time.")]

Duration = Annotated[float | None, typer.Option(min=0, help="Seconds of live readings; unlimited by default.")]
SpeedUp = Annotated[
    float,
    typer.Option(
        min=1,
        help="Factor of simulated time: 60 sends an hour in a minute. The start lies so far in the past (at most a day) that "
        "simulated time reaches the wall clock at the end of --duration; it never passes it.",
    ),
]
BackfillHours = Annotated[
    float, typer.Option(min=0, help="First send the readings of this many past hours, as fast as possible.")
]
BackfillFrom = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%dT%H:%M:%S%z"], help="The same from this instant on, such as 2026-11-01T00:00:00+0000."
    ),
]
OutOfOrderShare = Annotated[
    float, typer.Option(min=0, max=1, help="Share of readings sent after the device's next reading.")
]
MalformedShare = Annotated[float, typer.Option(min=0, max=1, help="Malformed records sent in addition, per reading.")]
FaultyShare = Annotated[float, typer.Option(min=0, max=1, help="Share of vehicles whose charger loses 16 to 30 %.")]
AgingShare = Annotated[
    float, typer.Option(min=0, max=1, help="Share of vehicles whose charger loses efficiency from day to day.")
]
RoutineDays = Annotated[
    int | None, typer.Option(min=1, help="Each vehicle does the same again after so many days; by default never.")
]


@app.command()
def run(
    *,
    devices: Devices = 10_000,
    live: Annotated[bool, typer.Option(help="Send current readings until stopped.")] = True,
    duration: Duration = None,
    speed_up: SpeedUp = 1.0,
    backfill_hours: BackfillHours = 0,
    backfill_from: BackfillFrom = None,
    backfill_devices: Annotated[int, typer.Option(min=1, help="Number of vehicles (and meters) to backfill.")] = 300,
    rate: Annotated[float | None, typer.Option(min=1, help="Maximum number of records a second.")] = None,
    duplicate_share: Annotated[float, typer.Option(min=0, max=1, help="Share of readings sent twice.")] = 0,
    late_share: Annotated[float, typer.Option(min=0, max=1, help="Share of readings sent 5 to 60 minutes late.")] = 0,
    out_of_order_share: OutOfOrderShare = 0,
    malformed_share: MalformedShare = 0,
    faulty_share: FaultyShare = 0.02,
    aging_share: AgingShare = 0,
    routine_days: RoutineDays = None,
    seed: Seed = 1,
) -> None:
    """Send the fleet's readings. Progress goes to stderr, one JSON line with the counts to stdout at the end.

    Settings: KAFKA_BOOTSTRAP_SERVERS, KAFKA_METER_TOPIC, KAFKA_VEHICLE_TOPIC, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_*, KAFKA_SSL_*.
    Exit code 1 if Kafka has not acknowledged every record.
    """
    plan = Plan(
        fleet=Fleet(devices, seed, faulty_share, aging_share, routine_days),
        shares=AnomalyShares(duplicate_share, late_share, out_of_order_share, malformed_share),
        live=live,
        speed_up=speed_up,
        duration_s=duration,
        backfill_hours=backfill_hours,
        backfill_from=backfill_from,
        backfill_devices=backfill_devices,
        rate=rate,
    )
    summary = uvloop.run(_run(plan, from_environment(SimulatorSettings)))
    typer.echo(msgspec.json.encode(summary))
    raise typer.Exit(summary["acknowledged"] != summary["sent"])


@app.command(name="assignments")
def print_or_send_assignments(
    *,
    devices: Devices = 10_000,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Send the assignments to KAFKA_ASSIGNMENT_TOPIC instead of printing them.")
    ] = False,
) -> None:
    """Assign VEH-n to METER-n. Prints the CSV that `python -m sql assign FILE` reads, or sends records.

    With --kafka one JSON line with the counts goes to stdout; exit code 1 if Kafka has not acknowledged every record.
    """
    rows = assignments(Fleet(devices))
    if not kafka:
        write_assignments(rows)
        return
    summary = uvloop.run(_send_assignments(rows, from_environment(KafkaSettings)))
    typer.echo(msgspec.json.encode(summary))
    raise typer.Exit(summary["acknowledged"] != summary["sent"])


async def _send_assignments(rows: Iterable[Assignment], settings: KafkaSettings) -> dict[str, int]:
    producer = ReadingProducer(settings, _report, [RecordType.ASSIGNMENT])
    await producer.start()
    try:
        await producer.send(map(assignment_record, rows))
    finally:
        await producer.stop(SHUTDOWN_TIMEOUT_S)
    return asdict(producer.counts)


async def _run(plan: Plan, settings: SimulatorSettings) -> dict[str, int]:
    tracer = start_tracer(settings, "energy-simulator")
    fleet = FleetRun(plan, ReadingProducer(settings, _report, tracer=tracer), _report)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, fleet.stop)
    try:
        return await fleet.run()
    finally:
        tracer.close()


def _report(text: str) -> None:
    typer.echo(f"fleet: {text}", err=True)


def main() -> None:
    arguments = sys.argv[1:]
    explicit = arguments and (arguments[0] in COMMANDS or arguments[0] == "--help")
    app(arguments if explicit else ["run", *arguments], prog_name="python -m deploy.simulator")


if __name__ == "__main__":
    main()
