"""What was measured, in docs/benchmarks.md unless said otherwise; a test looks each number up there.

All of it on two cores that consumer, broker and database shared. Multiplying it is a model, not a measurement: it says where
to look.
"""

from typing import Final

# A day of the fleet, 28,800,000 records.
TABLE_BYTES: Final = 80.2  # a reading
INDEX_BYTES: Final = 68.3
INDEX_BYTES_PACKED: Final = 40.2  # built anew, as finished months are
WAL_BYTES: Final = 179  # a reading, a fleet-day on average
DRAIN_RECORDS: Final = 242_635  # records/s of one replica
POSTGRES_MICROSECONDS: Final = 3.4  # of CPU a record, in the last tenth of the day
KAFKA_MICROSECONDS: Final = 0.10
CONSUMER_MICROSECONDS: Final = 3.39
CONSUMER_MEBIBYTES: Final = 214  # at the largest, with two topics; of docs/decisions/0008

# The fleet's answers, and questions while readings come in.
EVALUATION_SECONDS: Final = 1.54  # of 10,000 vehicles
EVALUATED_VEHICLES: Final = 10_000
ROLLUP_SECONDS: Final = 0.82  # of an hour of 20,000 devices
ROLLED_UP_DEVICES: Final = 20_000
REQUESTS: Final = 1_190  # of one vehicle, a second, on two cores with the database

# Here: tests/integration/deploy/test_sizing.py inserts such rows and compares. Tables and indexes.
ROLLUP_BYTES: Final = 133  # a device and hour
LIVE_BYTES: Final = 197  # a device

# The example records of the contract, without compression.
RECORD_BYTES: Final = 118
