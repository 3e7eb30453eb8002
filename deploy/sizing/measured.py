"""Measurements on which the model is based. A test compares each number with docs/benchmarks.md, unless noted otherwise.

All were made on two cores shared by consumer, broker and database. Multiplied, they are a model, not a measurement: they show
which resource to examine first.
"""

from typing import Final

# A day of the fleet, 28,800,000 records: `make bench ONLY=fleet-day`.
TABLE_BYTES: Final = 80.2  # a reading
INDEX_BYTES: Final = 68.3
WAL_BYTES: Final = 179  # a reading, averaged over the day
DRAIN_RECORDS: Final = 242_635  # records/s of one consumer
POSTGRES_MICROSECONDS: Final = 3.4  # CPU per record, in the last tenth of the day
KAFKA_MICROSECONDS: Final = 0.10
CONSUMER_MICROSECONDS: Final = 3.39
CONSUMER_MEBIBYTES: Final = 214  # maximum, with two topics; from docs/decisions/0008

# Evaluation of the fleet and rollups: `make bench ONLY=devices`. Requests during ingestion: `make bench ONLY=api`.
EVALUATION_SECONDS: Final = 24.1  # of a million devices, half of them vehicles, a minute after the evaluation before
EVALUATED_VEHICLES: Final = 500_000
ROLLUP_SECONDS: Final = 19.2  # one hour of a million devices
ROLLED_UP_DEVICES: Final = 1_000_000
REQUESTS: Final = 1_190  # for one vehicle, per second, on two cores shared with the database

# Tables with their indexes, measured by tests/integration/deploy/test_sizing.py.
ROLLUP_BYTES: Final = 133  # per device and hour
LIVE_BYTES: Final = 197  # per device

# The example records of the contract, uncompressed.
RECORD_BYTES: Final = 118

# The levels of history: `make bench ONLY=levels`. Bytes a reading, mean of meters and vehicles; folded with key and hour sums.
FOLDED_BYTES: Final = 5.3  # with instants that jitter by 500 ms
FOLDED_BYTES_EXACT: Final = 3.0  # at exact cadence
ARCHIVE_BYTES: Final = 2.05
ARCHIVE_BYTES_EXACT: Final = 0.78
FOLDING_MICROSECONDS: Final = 6.8  # CPU a reading
MERGING_MILLISECONDS: Final = 10.0  # CPU for the day of a device
ARCHIVING_MICROSECONDS: Final = 9.0  # CPU a reading, of PostgreSQL and of maintenance, which reads the file back
