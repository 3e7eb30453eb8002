"""`python -m tests.fuzz.decoder SECONDS`: the decoders of records under a coverage-guided fuzzer.

For any bytes: a decoder raises only its documented errors, every rejection has a reason, an accepted value stays the same when it
is encoded and decoded again, and a chunk of values decodes to the same rows as its values one by one. The same
bytes are payloads of Avro, Protobuf and JSON with a JSON Schema, of our schemas and of schemas with every other type.
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
    from consumer.formats.registry import RegisteredSchema
    from consumer.records.batch import Decoded
    from consumer.records.decode import Decoder
    from consumer.records.record import Record
    from consumer.records.record_type import RecordType
    from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS, assignments, register_readings
    from schemas.records.readings import Reason, TimeLimits
    from tests.support.formats.encoding import FORMATS, framed, framed_decoder, key_of, own_schema

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
OTHER_AVRO: Final = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "voltage", "type": ["null", "int", "float", "double"]},
        {"name": "a", "type": {"type": "array", "items": {"type": "map", "values": ["null", "bytes", "long"]}}},
        {"name": "timestamp", "type": ["null", {"type": "long", "logicalType": "timestamp-nanos"}]},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
        {"name": "f", "type": {"type": "fixed", "name": "F", "size": 3}},
        {"name": "r", "type": {"type": "record", "name": "R", "fields": [{"name": "e", "type": "E"}]}},
        {"name": "meterId", "type": "string"},
        {"name": "kwhConsumedAc", "type": "long"},
        {"name": "b", "type": "boolean"},
    ],
}
OTHER_PROTOBUF: Final = """
syntax = "proto3";
message Outer {
  message Reading {
    map<string, int32> counts = 1;
    string meter_id = 9;
    oneof either { sfixed32 voltage = 3; float amps = 4; }
    int64 timestamp = 70;
    optional sint32 kwh_consumed_ac = 2;
    repeated Outer more = 5;
  }
}
"""
OTHER: Final = {
    len(FORMATS) + 1: RegisteredSchema("AVRO", encode(OTHER_AVRO).decode()),
    len(FORMATS) + 2: RegisteredSchema("PROTOBUF", OTHER_PROTOBUF),
}
FRAMED: Final = {
    kind.name: framed_decoder(
        "auto", kind, {number: own_schema(each, kind.struct) for number, each in enumerate(FORMATS, 1)} | OTHER
    )
    for kind in (METER_READINGS, VEHICLE_READINGS)
}
GOOD: Final = {
    kind.name: {
        number: framed(each, kind.struct, number)(encode(TOPICS[f"{kind.name}Readings"][-1]))
        for number, each in enumerate(FORMATS, 1)
    }
    for kind in (METER_READINGS, VEHICLE_READINGS)
}


def check(data: bytes) -> None:
    """Decodes the same bytes as a record of every type, and as a batch over HTTP."""
    for name, kind in NAMES.items():
        check_alone(kind, data)
        check_among_others(kind, data, encode(TOPICS[name][-1]))
    check_with_schema(data)
    for form in (JSON_ARRAY, NDJSON):
        with contextlib.suppress(RejectedRequest):
            assert len(split_batch(data, form, 100)) <= 100


def check_alone(kind: RecordType, data: bytes) -> None:
    """Decodes one value and checks the reason of its rejection, or its round trip."""
    try:
        decoded = kind.decode(data)
    except (ValueError, RecursionError):
        verdict = kind.explain_rejection(data, kind.limits or LIMITS)
        assert verdict.reason in Reason
        assert str(verdict)
    else:
        assert kind.decode(encode(decoded)) == decoded


def check_among_others(kind: RecordType, data: bytes, good: bytes) -> None:
    """Decodes the value between two valid ones, as the consumer decodes a chunk."""
    records = [Record(PARTITION, offset, 0, None, value) for offset, value in enumerate((good, data, good))]
    together, apart = Decoder(kind).decode(records, LIMITS), Decoded([], [], [])
    Decoder(kind)._decode_one_by_one(records, kind.limits or LIMITS, apart)
    assert (together.rows, together.records) == (apart.rows, apart.records)
    assert [letter.record for letter in together.dead_letters] == [letter.record for letter in apart.dead_letters]
    assert apart.rows, "the valid values are accepted"


def check_with_schema(data: bytes) -> None:
    """Decodes the bytes as a payload of one of the formats, between two valid ones."""
    kind = (METER_READINGS, VEHICLE_READINGS)[len(data) % 2]
    number = 1 + len(data) // 2 % (len(FORMATS) + len(OTHER))
    valid, decoder = GOOD[kind.name].get(number, GOOD[kind.name][1]), FRAMED[kind.name]
    values = (valid, key_of(number) + data, valid)
    records = [Record(PARTITION, offset, 0, None, value) for offset, value in enumerate(values)]
    assert decoder.first_unknown(records) is None
    decoded = decoder.decode(records, LIMITS)
    apart = Decoded([], [], [])
    decoder._decode_one_by_one(records, LIMITS, apart)
    assert (decoded.rows, decoded.records) == (apart.rows, apart.records)
    assert len(decoded.rows) + len(decoded.dead_letters) == 3
    assert len(decoded.rows) >= 2, "the valid values are accepted"
    assert all(letter.reason is not Reason.INTERNAL_ERROR for letter in decoded.dead_letters)


def main() -> None:
    """Runs for the seconds on the command line; a finding ends it with exit code 77 and the input on stderr."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with tempfile.TemporaryDirectory() as corpus:
        for name, topic in TOPICS.items():
            (Path(corpus) / name).write_bytes(encode(topic[-1]))
        for name, values in GOOD.items():
            for number, value in values.items():
                (Path(corpus) / f"{name}-{number}").write_bytes(value.removeprefix(key_of(number)))
        limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=5", "-seed=20261126", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], corpus, f"-artifact_prefix={corpus}/", *limits], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
