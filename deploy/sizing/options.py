"""The options of the command, with their help."""

from typing import Annotated

from typer import Option

Devices = Annotated[int, Option(min=1, help="Number of vehicles and meters together.")]
Interval = Annotated[float, Option(min=0.1, help="Seconds between two readings of a device.")]
ExactCadence = Annotated[
    bool, Option("--exact-cadence", help="Devices send on the millisecond; by default, instants jitter by 500 ms.")
]
LateShare = Annotated[
    float,
    Option(min=0, max=1, help="Share of days of devices with readings that come when the day is folded. Assumed."),
]
FoldAfterDays = Annotated[int, Option(min=1, help="Days that stay as rows after their end (FOLD_AFTER_DAYS).")]
RetentionDays = Annotated[int, Option(min=1, help="Days for which the database keeps history (RETENTION_DAYS).")]
ArchiveDays = Annotated[
    int, Option(min=0, help="Days for which the archive keeps a month that the database has dropped. 0: no archive.")
]
Headroom = Annotated[float, Option(min=1, help="Required throughput as a multiple of the fleet's own rate.")]
Requests = Annotated[float, Option(min=0, help="Requests for one vehicle, per second.")]
PoolSize = Annotated[int, Option(min=1, help="Connections of one API process (DATABASE_POOL_SIZE).")]
DiskPrice = Annotated[float, Option(min=0, help="Dollars for a GB and month of the database's disk. Assumed.")]
ArchivePrice = Annotated[
    float, Option(min=0, help="Dollars for a GB and month of the archive's disk or object storage. Assumed.")
]
CoreHourPrice = Annotated[float, Option(min=0, help="Dollars for an hour of one core. Assumed.")]
ServerCores = Annotated[float, Option(min=1, help="Cores of one PostgreSQL server.")]
ServerDisk = Annotated[float, Option(min=0.001, help="Disk of one PostgreSQL server, in TB.")]
ServerWal = Annotated[float, Option(min=1, help="WAL that one PostgreSQL server sustains, in MB/s.")]
ServerConnections = Annotated[int, Option(min=1, help="max_connections of one PostgreSQL server.")]
AsJson = Annotated[bool, Option("--json", help="Print a JSON object instead of text.")]
