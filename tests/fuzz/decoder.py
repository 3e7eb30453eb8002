"""`python -m tests.fuzz.decoder SECONDS`: the decoders of records under a coverage-guided fuzzer.

Whatever the bytes: nothing is raised but what the decoders say they raise, every refusal has a reason, what is accepted is the
same again when it is written and read once more, and many values in one go become what they become one by one.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

try:
    import atheris
except ImportError:
    sys.stderr.write("atheris has no package for this Python or machine (CPython 3.11 to 3.13, Linux, x86_64)\n")
    sys.exit(1)

with atheris.instrument_imports(include=["schemas", "consumer", "api"]):
    from api.ingestion.parsing import JSON_ARRAY, NDJSON, split_batch
    from api.ingestion.request import RejectedRequest
    from consumer.records.batch import Decoded
    from consumer.records.decode import Decoder
    from consumer.records.record import Record
    from consumer.records.record_type import RecordType
    from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS, assignments, register_readings
    from schemas.records.readings import Reason, TimeLimits

from datetime import UTC, datetime

from aiokafka import TopicPartition

from tests.contracts.asyncapi import TOPICS

NAMES: Final[dict[str, RecordType]] = {
    "meterReadings": METER_READINGS,
    "vehicleReadings": VEHICLE_READINGS,
    "registerReadings": register_readings(jitter_kwh=1.0),
    "assignments": assignments("assignments"),
}
PARTITION: Final = TopicPartition("topic", 0)
LIMITS: Final = TimeLimits.at(datetime(2026, 6, 1, tzinfo=UTC), 400)
encode: Final[Callable[[Any], bytes]] = msgspec.json.encode


def check(data: bytes) -> None:
    """All kinds of record against the same bytes, and the gateway's batches."""
    for name, kind in NAMES.items():
        check_alone(kind, data)
        check_among_others(kind, data, encode(TOPICS[name][-1]))
    for form in (JSON_ARRAY, NDJSON):
        with contextlib.suppress(RejectedRequest):
            assert len(split_batch(data, form, 100)) <= 100


def check_alone(kind: RecordType, data: bytes) -> None:
    """One value, by the decoder that names its errors."""
    try:
        decoded = kind.decode(data)
    except (ValueError, RecursionError):
        verdict = kind.explain_rejection(data, kind.limits or LIMITS)
        assert verdict.reason in Reason
        assert str(verdict)
    else:
        assert kind.decode(encode(decoded)) == decoded


def check_among_others(kind: RecordType, data: bytes, good: bytes) -> None:
    """The same value between two good ones, as a replica takes them."""
    records = [Record(PARTITION, offset, 0, None, value) for offset, value in enumerate((good, data, good))]
    together, apart = Decoder(kind).decode(records, LIMITS), Decoded([], [], [])
    Decoder(kind)._decode_one_by_one(records, kind.limits or LIMITS, apart)
    assert (together.rows, together.records) == (apart.rows, apart.records)
    assert [letter.record for letter in together.dead_letters] == [letter.record for letter in apart.dead_letters]
    assert apart.rows, "the good ones are good"


def main() -> None:
    """Run for so many seconds; a finding ends it with exit code 77 and its bytes on stderr."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with tempfile.TemporaryDirectory() as corpus:
        for name, topic in TOPICS.items():
            (Path(corpus) / name).write_bytes(encode(topic[-1]))
        limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=5", "-seed=20261126", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], corpus, f"-artifact_prefix={corpus}/", *limits], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
