"""Values that name their schemas become the same rows as JSON, and what cannot be read a dead letter with a reason."""

import asyncio
import io
import json
import struct
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumer.formats import decoder as decoder_module
from consumer.formats.columns import varint
from consumer.formats.decoder import FramedDecoder
from consumer.formats.errors import RegistryUnavailableError
from consumer.formats.registry import RegisteredSchema
from consumer.records.batch import Decoded
from consumer.records.decode import Decoder
from consumer.records.record_type import RecordType
from consumer.settings import Format
from schemas.records.readings import MeterReading, Reason, TimeLimits
from tests.support.formats.encoding import FORMATS, RegistryInMemory, encoder, field_encoder, framed, key_of, own_schema
from tests.support.records import RECORD_TYPES, assignment, meter, records, register, vehicle

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LIMITS = TimeLimits.at(NOW, 400)
METERS = RECORD_TYPES["meter-readings"]
VALUES = {
    "meter-readings": [meter(f"METER-{n}", NOW - timedelta(seconds=n, microseconds=n), n / 7) for n in range(600)],
    "register-readings": [register(f"METER-{n}", NOW - timedelta(seconds=n), n * 1e5) for n in range(300)],
    "vehicle-readings": [vehicle(f"VEH-{n}", NOW - timedelta(milliseconds=n), n / 9) for n in range(300)],
    "assignments": [
        assignment("VEH-1", "METER-1", NOW),
        assignment("VEH-2", "METER-2", NOW, NOW + timedelta(days=1, microseconds=1)),
    ],
}


def decoder_of(
    registry: RegistryInMemory,
    value_format: Format = "auto",
    record_type: RecordType = METERS,
    max_bytes: int = 1 << 20,
) -> FramedDecoder:
    return FramedDecoder(record_type, max_bytes, value_format, registry)  # type: ignore[arg-type]


def decode(decoder: FramedDecoder, values: list[bytes | None], headers: list[bytes | None] | None = None) -> Decoded:
    """Decodes as the poll loop does: unknown schemas are fetched first."""
    fetched = records(values)
    for record, header in zip(fetched, headers or [None] * len(values), strict=True):
        record.schema_header = header

    async def load() -> None:
        while unknown := decoder.first_unknown(fetched):
            await unknown.load()

    asyncio.run(load())
    return decoder.decode(fetched, LIMITS)


def reasons(decoded: Decoded) -> list[Reason]:
    return [letter.reason for letter in decoded.dead_letters]


def registry_of(*schemas: RegisteredSchema) -> RegistryInMemory:
    """A registry whose schemas have the ids from 1 on."""
    return RegistryInMemory({key_of(number): schema for number, schema in enumerate(schemas, 1)})


@pytest.mark.parametrize("value_format", FORMATS)
@pytest.mark.parametrize("topic", list(VALUES))
def test_each_format_has_the_rows_of_json(value_format: Any, topic: str) -> None:
    record_type, values = RECORD_TYPES[topic], VALUES[topic]
    decoder = decoder_of(registry_of(own_schema(value_format, record_type.struct)), value_format, record_type)
    decoded = decode(decoder, list(map(framed(value_format, record_type.struct), values)))
    expected = Decoder(record_type).decode(records(values), LIMITS)
    assert decoded.dead_letters == []
    assert decoded.rows == expected.rows
    assert len(decoded.rows) == len(values)


class StubColumns:
    """Columns of payloads that have no layout in common."""

    def read(self, *_: Any) -> None:
        return None


@pytest.mark.parametrize("value_format", FORMATS)
@pytest.mark.parametrize("topic", list(VALUES)[:3])
def test_payloads_of_one_schema_are_read_together(value_format: Any, topic: str) -> None:
    record_type, values = RECORD_TYPES[topic], VALUES[topic]
    decoder = decoder_of(registry_of(own_schema(value_format, record_type.struct)), value_format, record_type)
    decode(decoder, [framed(value_format, record_type.struct)(values[0])])
    reader: Any = decoder._readers[key_of(1)]
    payloads = list(map(encoder(value_format, record_type.struct), values))
    expected = Decoder(record_type).decode(records(values), LIMITS).rows
    assert reader.rows(payloads, 0) == expected
    if value_format != "avro":
        return
    assert len(reader._columns._layouts) > 2, "ids have several lengths"
    reader._columns = StubColumns()
    assert reader.rows(payloads, 0) == expected, "without a layout as well"


def test_a_topic_in_migration_has_its_rows_in_order_whatever_their_formats() -> None:
    values = VALUES["meter-readings"]
    registry = registry_of(*(own_schema(each, MeterReading) for each in FORMATS))
    encoders = [lambda value: value, *(framed(each, MeterReading, number) for number, each in enumerate(FORMATS, 1))]
    mixed = [encoders[number % 4](value) for number, value in enumerate(values)]
    decoder = decoder_of(registry)
    expected = Decoder(METERS).decode(records(values), LIMITS).rows
    assert decode(decoder, mixed).rows == expected
    assert sorted(registry.questions) == [key_of(1), key_of(2), key_of(3)], "each schema is fetched once"

    broken = [*mixed[:300], b"?", key_of(1) + b"\xff", *mixed[300:]]
    decoded = decode(decoder, broken)
    assert decoded.rows == expected
    assert reasons(decoded) == [Reason.INVALID_JSON, Reason.INVALID_ENCODING]
    assert [each.offset for each in decoded.records] == [*range(300), *range(302, 602)]


@pytest.mark.parametrize("value_format", FORMATS)
@pytest.mark.parametrize("guid", [False, True])
def test_the_id_may_be_in_a_header(value_format: Any, guid: bool) -> None:
    key = b"\1" + bytes(range(16)) if guid else key_of(1)
    registry = RegistryInMemory({key: own_schema(value_format, MeterReading)})
    payloads = list(map(encoder(value_format, MeterReading), VALUES["meter-readings"][:5]))
    indexes = b"\0" if value_format == "protobuf" else b""
    headers: list[bytes | None] = [key + indexes] * 5
    values: list[bytes | None] = [each[len(indexes) :] for each in payloads]
    decoded = decode(decoder_of(registry, value_format), values, headers)
    assert decoded.rows == Decoder(METERS).decode(records(VALUES["meter-readings"][:5]), LIMITS).rows
    framed_values: list[bytes | None] = [key + each for each in payloads]
    assert decode(decoder_of(registry, value_format), framed_values).rows == decoded.rows
    assert [each.framed_value() for each in decoded.records] == framed_values, "what a dead letter would store"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Reason.EMPTY_VALUE),
        (b"", Reason.EMPTY_VALUE),
        (b"\0\0\0", Reason.INVALID_FRAME),
        (b"\1" + bytes(15), Reason.INVALID_FRAME),
        (VALUES["meter-readings"][0], Reason.INVALID_FRAME),
        (key_of(1), Reason.INVALID_ENCODING),
        (key_of(7) + b"x", Reason.UNKNOWN_SCHEMA),
        (key_of(2) + VALUES["meter-readings"][0], Reason.INCOMPATIBLE_SCHEMA),  # of JSON, on a topic of Avro
        (key_of(1) + b"\2x" + bytes(8 * 3) + b"trailing", Reason.INVALID_ENCODING),
        (b"x" * (1 << 20) + b"x", Reason.TOO_LARGE),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_between_its_neighbours(value: bytes | None, expected: Reason) -> None:
    registry = registry_of(own_schema("avro", MeterReading), own_schema("json-schema", MeterReading))
    good = framed("avro", MeterReading)(VALUES["meter-readings"][0])
    decoded = decode(decoder_of(registry, "avro"), [good, value, good])
    assert reasons(decoded) == [expected]
    assert decoded.dead_letters[0].detail
    assert len(decoded.rows) == 2


@pytest.mark.parametrize("value_format", FORMATS[:2])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kwh_consumed_ac": -0.1}, Reason.OUT_OF_RANGE),
        ({"voltage": float("nan")}, Reason.OUT_OF_RANGE),
        ({"voltage": float("inf")}, Reason.OUT_OF_RANGE),
        ({"meter_id": "a b"}, Reason.INVALID_ID),
        ({"meter_id": ""}, Reason.INVALID_ID),
        ({"timestamp": LIMITS.oldest - timedelta(seconds=1)}, Reason.TIMESTAMP_TOO_OLD),
        ({"timestamp": LIMITS.newest + timedelta(seconds=1)}, Reason.TIMESTAMP_IN_FUTURE),
    ],
)
def test_the_limits_are_those_of_json(value_format: Any, changes: dict[str, Any], expected: Reason) -> None:
    plain = {"meter_id": "METER-1", "timestamp": NOW, "kwh_consumed_ac": 0.5, "voltage": 240.0}
    value = key_of(1) + field_encoder(value_format, MeterReading)(plain | changes)
    registry = registry_of(own_schema(value_format, MeterReading))
    assert reasons(decode(decoder_of(registry, value_format), [value])) == [expected]


AVRO = json.loads(own_schema("avro", MeterReading).text)


def avro(*fields: dict[str, Any]) -> RegisteredSchema:
    return RegisteredSchema("AVRO", json.dumps({"type": "record", "name": "Reading", "fields": list(fields)}))


def written(schema: RegisteredSchema, **fields: Any) -> bytes:
    target = io.BytesIO()
    fastavro.schemaless_writer(target, fastavro.parse_schema(json.loads(schema.text)), fields)
    return target.getvalue()


ID, AT, KWH, VOLTAGE = AVRO["fields"]
MILLIS = {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}}


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (avro(VOLTAGE, KWH, AT, ID), {}),  # another order
        (avro(ID, MILLIS, KWH, VOLTAGE), {}),
        (avro(ID, {"name": "timestamp", "type": "string"}, KWH, VOLTAGE), {"timestamp": NOW.isoformat()}),
        (avro(ID, {"name": "timestamp", "type": "long"}, KWH, VOLTAGE), {"timestamp": int(NOW.timestamp() * 1000)}),
        (avro(ID, AT, KWH, {"name": "voltage", "type": ["null", "int", "double"]}), {}),
        (
            avro(
                {"name": "site", "type": {"type": "record", "name": "Site", "fields": [{"name": "n", "type": "long"}]}},
                ID,
                {"name": "tags", "type": {"type": "array", "items": "string"}},
                AT,
                {"name": "day", "type": {"type": "int", "logicalType": "date"}},  # beyond the year 9999
                KWH,
                VOLTAGE,
                {"name": "note", "type": ["null", "string"]},
            ),
            {"site": {"n": 7}, "tags": ["a", "b"], "day": 2**31 - 1, "note": None},
        ),
    ],
)
def test_avro_of_other_producers_is_read_by_the_names_of_its_fields(
    schema: RegisteredSchema, fields: dict[str, Any]
) -> None:
    plain = {"meterId": "METER-1", "timestamp": NOW, "kwhConsumedAc": 0.5, "voltage": 240.0}
    value = key_of(1) + written(schema, **plain | fields)
    decoded = decode(decoder_of(registry_of(schema), "avro"), [value] * 3)
    assert decoded.dead_letters == []
    assert decoded.rows == [("METER-1", NOW, 0.5, 240.0)] * 3


def record(name: str, *types: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": f"f{n}", "type": each} for n, each in enumerate(types)]}


def doubling(levels: int) -> dict[str, Any]:
    """A record without content that has 2 ** levels records in it."""
    innermost = record("R0")
    for level in range(1, levels + 1):
        innermost = record(f"R{level}", innermost, f"R{level - 1}")
    return innermost


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ({"type": "array", "items": "null"}, "items without content"),
        ({"type": "array", "items": record("Empty")}, "items without content"),
        ({"type": "array", "items": record("Outer", record("Empty"))}, "items without content"),
        ({"type": "array", "items": {"type": "fixed", "name": "Nothing", "size": 0}}, "items without content"),
        ({"type": "map", "values": {"type": "array", "items": ["int", {"type": "map", "values": "null"}]}}, "items"),
        (record("Link", "int", ["null", "Link"]), "the record Link is within itself"),
        (record("Tree", {"type": "array", "items": "Tree"}), "the record Tree is within itself"),
        (doubling(20), "more than 10000 types"),
    ],
)
def test_an_avro_schema_whose_payloads_have_no_bound_cannot_be_read(definition: Any, problem: str) -> None:
    schema = avro(ID, AT, KWH, VOLTAGE, {"name": "more", "type": definition})
    decoded = decode(decoder_of(registry_of(schema), "avro"), [key_of(1) + b"anything"])
    assert reasons(decoded) == [Reason.INCOMPATIBLE_SCHEMA]
    assert problem in decoded.dead_letters[0].detail


def test_avro_payloads_cannot_claim_more_items_than_they_have_bytes() -> None:
    schema = avro(ID, AT, KWH, VOLTAGE, {"name": "more", "type": {"type": "array", "items": ["null", "int"]}})
    plain = {"meterId": "METER-1", "timestamp": NOW, "kwhConsumedAc": 0.5, "voltage": 240.0}
    value = key_of(1) + written(schema, **plain, more=[None] * 3)
    claims = value[:-5] + varint(2**62) + value[-4:]
    decoded = decode(decoder_of(registry_of(schema), "avro"), [value, claims, value])
    assert reasons(decoded) == [Reason.INVALID_ENCODING]
    assert len(decoded.rows) == 2


OWN = own_schema("protobuf", MeterReading).text
NESTED = """
syntax = "proto3";
message Envelope {
  message Other { map<string, int32> counts = 1; }
  message Reading {
    int32 unused = 1;
    string meterId = 9;
    oneof either { double voltage = 3; float amps = 4; }
    int64 timestamp = 70;
    float kwhConsumedAc = 2;
    repeated string tags = 5;
  }
}
"""


def varint_fields(*fields: tuple[int, int, bytes]) -> bytes:
    """A Protobuf message of small numbers of fields: (number, wire type, content)."""
    return b"".join(varint(number << 3 | wire) + content for number, wire, content in fields)


def test_protobuf_of_other_producers_is_read_by_the_names_and_numbers_of_its_schema() -> None:
    message = varint_fields(
        (1, 0, b"\7"),
        (9, 2, b"\7METER-1"),
        (3, 1, struct.pack("<d", 240.0)),
        (70, 0, varint(int(NOW.timestamp() * 1000))),
        (2, 5, struct.pack("<f", 0.5)),
        (5, 2, b"\1x"),
    )
    value = key_of(1) + b"\4\0\2" + message  # two indexes, 0 and 1
    decoder = decoder_of(registry_of(RegisteredSchema("PROTOBUF", NESTED)), "protobuf")
    decoded = decode(decoder, [value, value])
    assert decoded.rows == [("METER-1", NOW, 0.5, 240.0)] * 2
    other = decode(decoder, [key_of(1) + b"\4\0\0", key_of(1) + b"\2\6", key_of(1) + b"\x80", value])
    assert reasons(other) == [Reason.INCOMPATIBLE_SCHEMA, Reason.INVALID_FRAME, Reason.INVALID_FRAME]
    assert len(other.rows) == 1
    without_voltage = message.replace(varint_fields((3, 1, struct.pack("<d", 240.0))), b"")
    assert reasons(decode(decoder, [key_of(1) + b"\4\0\2" + without_voltage])) == [Reason.MISSING_FIELD]


def test_numbers_that_protobuf_leaves_out_are_zero_and_optional_ones_are_missing() -> None:
    instant = b"\x08" + varint(int(NOW.timestamp()))
    message = varint_fields((1, 2, b"\7METER-1"), (2, 2, bytes([len(instant)]) + instant))
    schema, optional = own_schema("protobuf", MeterReading), OWN.replace("double voltage", "optional double voltage")
    value = key_of(1) + b"\0" + message
    assert decode(decoder_of(registry_of(schema), "protobuf"), [value]).rows == [("METER-1", NOW, 0.0, 0.0)]
    decoded = decode(decoder_of(registry_of(RegisteredSchema("PROTOBUF", optional)), "protobuf"), [value])
    assert reasons(decoded) == [Reason.MISSING_FIELD]
    assert decoded.dead_letters[0].detail == "voltage is missing"


def own_message(*, device: bytes = b"METER-1", before: bytes = b"", behind: bytes = b"") -> bytes:
    """A value of our Protobuf schema; numbers are left out."""
    instant = b"\x08" + varint(int(NOW.timestamp())) + b"\x10\1"
    text = (1, 2, varint(len(device)) + device) if device else (9, 0, b"\0")
    return key_of(1) + b"\0" + before + varint_fields(text, (2, 2, varint(len(instant)) + instant)) + behind


ID_TWICE = own_message(device=b"METER-2", before=varint_fields((1, 2, b"\7METER-1")))
WITHOUT_ID = own_message(device=b"")
TWO_INSTANTS = own_message(behind=varint_fields((2, 2, b"\2\x10\x64")))  # nanoseconds in an instant of their own
TWO_GROUPS = own_message(behind=b"\x0c\x0b" + own_message(behind=b"\x19" + bytes(8) + b"\x21" + bytes(8))[6:])
OPEN_TEXT = own_message(behind=varint_fields((9, 2, varint(200))))
OPEN_GROUP = own_message(behind=varint_fields((9, 3, b"")))
OPEN_NUMBER = own_message(behind=varint_fields((9, 1, b"\0")))
ENDS_GROUP = own_message(behind=b"\x0c")
EMPTY_GROUP = own_message(behind=b"\x0c\x0b")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([ID_TWICE, WITHOUT_ID], ["METER-2", Reason.INVALID_ID]),
        ([WITHOUT_ID, ID_TWICE], [Reason.INVALID_ID, "METER-2"]),
        ([TWO_INSTANTS, own_message()], ["METER-1", "METER-1"]),
        ([TWO_GROUPS, OPEN_TEXT, own_message()], [Reason.INVALID_ENCODING, Reason.INVALID_ENCODING, "METER-1"]),
        ([OPEN_TEXT, TWO_GROUPS, own_message()], [Reason.INVALID_ENCODING, Reason.INVALID_ENCODING, "METER-1"]),
        ([OPEN_GROUP, own_message(), ENDS_GROUP], [Reason.INVALID_ENCODING, "METER-1", Reason.INVALID_ENCODING]),
        ([EMPTY_GROUP, own_message()], [Reason.INVALID_ENCODING, "METER-1"]),
        ([OPEN_NUMBER, own_message()], [Reason.INVALID_ENCODING, "METER-1"]),
        ([own_message(device=b"\xff"), own_message()], [Reason.INVALID_ID, "METER-1"]),
    ],
)
def test_protobuf_payloads_do_not_complete_one_another(values: list[bytes | None], expected: list[Any]) -> None:
    decoded = decode(decoder_of(registry_of(own_schema("protobuf", MeterReading)), "protobuf"), values)
    outcomes = {each.offset: row[0] for row, each in zip(decoded.rows, decoded.records, strict=True)}
    outcomes |= {letter.record.offset: letter.reason for letter in decoded.dead_letters}
    assert [outcomes[offset] for offset in range(len(values))] == expected


def test_a_protobuf_payload_that_swallows_the_next_one_is_not_made_up_for_by_another() -> None:
    decoder = decoder_of(registry_of(own_schema("protobuf", MeterReading)), "protobuf")
    for length in range(120):
        values = [TWO_GROUPS, own_message(behind=varint_fields((9, 2, varint(length)))), own_message()]
        decoded = decode(decoder, [*values])
        assert [each.offset for each in decoded.records] == ([1, 2] if length == 0 else [2])


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (avro(ID, AT), "it lacks kwhConsumedAc, voltage"),
        (avro(ID, AT, KWH, {"name": "voltage", "type": "string"}), 'voltage is "string" and must be a double'),
        (avro(ID, AT, KWH, {"name": "voltage", "type": ["null", "string"]}), "must be a double"),
        (avro(ID, KWH, VOLTAGE, {"name": "timestamp", "type": {"type": "int", "logicalType": "date"}}), "date"),
        (RegisteredSchema("AVRO", '"string"'), "it is not a record"),
        (RegisteredSchema("AVRO", "{"), "it is not valid Avro"),
        (RegisteredSchema("PROTOBUF", OWN.replace("double voltage", "double volts")), "it lacks voltage"),
        (RegisteredSchema("PROTOBUF", OWN.replace("double voltage", "repeated double voltage")), "repeated double"),
        (RegisteredSchema("PROTOBUF", OWN.replace("double voltage", "string voltage")), "voltage is string and must"),
        (RegisteredSchema("PROTOBUF", "message {"), "it is not valid Protobuf"),
        (RegisteredSchema("PROTOBUF", 'syntax = "proto3";'), "it has no message"),
        (
            RegisteredSchema("JSON", '{"additionalProperties": false, "properties": {"meterId": {}}}'),
            "it lacks timestamp",
        ),
        (RegisteredSchema("XML", "<a/>"), "XML is not a type of schemas that can be read"),
    ],
)
def test_a_schema_that_cannot_be_read_is_named_with_what_is_wrong(schema: RegisteredSchema, problem: str) -> None:
    decoded = decode(decoder_of(registry_of(schema)), [key_of(1) + b"anything"])
    assert reasons(decoded) == [Reason.INCOMPATIBLE_SCHEMA]
    assert decoded.dead_letters[0].detail.startswith("schema 1 cannot be read as meter: ")
    assert problem in decoded.dead_letters[0].detail


def test_avro_reads_the_types_that_a_schema_takes_from_others() -> None:
    volts = {"type": "record", "name": "Volts", "namespace": "grid", "fields": [{"name": "peak", "type": "double"}]}
    text = json.dumps({"type": "record", "name": "R", "fields": [*AVRO["fields"], {"name": "v", "type": "grid.Volts"}]})
    schema = RegisteredSchema("AVRO", text, (json.dumps(volts),))
    payload = encoder("avro", MeterReading)(VALUES["meter-readings"][0]) + struct.pack("<d", 1.5)
    assert len(decode(decoder_of(registry_of(schema), "avro"), [key_of(1) + payload]).rows) == 1


def test_records_wait_while_the_registry_is_away_and_known_schemas_go_on() -> None:
    registry = registry_of(own_schema("avro", MeterReading), own_schema("protobuf", MeterReading))
    decoder = decoder_of(registry)
    value = VALUES["meter-readings"][0]
    first, second = framed("avro", MeterReading, 1)(value), framed("protobuf", MeterReading, 2)(value)
    assert len(decode(decoder, [first]).rows) == 1

    registry.away = True
    fetched = records([value, first, second, first])
    unknown = decoder.first_unknown(fetched)
    assert unknown is not None
    assert unknown.position == 2
    with pytest.raises(RegistryUnavailableError):
        asyncio.run(unknown.load())
    assert decoder.first_unknown(fetched[:2]) is None
    assert len(decoder.decode(fetched[:2], LIMITS).rows) == 2

    registry.away = False
    assert len(decode(decoder, [value, first, second, first]).rows) == 4


def test_a_schema_that_the_registry_did_not_have_is_asked_for_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = RegistryInMemory()
    decoder, value = decoder_of(registry, "avro"), framed("avro", MeterReading)(VALUES["meter-readings"][0])
    decoded = decode(decoder, [value, value])
    assert reasons(decoded) == [Reason.UNKNOWN_SCHEMA] * 2
    assert decoded.dead_letters[0].detail == "the schema registry has no schema 1: not found"
    registry.schemas[key_of(1)] = own_schema("avro", MeterReading)
    assert reasons(decode(decoder, [value])) == [Reason.UNKNOWN_SCHEMA]
    later = time.monotonic() + decoder_module.NOT_FOUND_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert len(decode(decoder, [value]).rows) == 1
    assert registry.questions == [key_of(1)] * 2


PIECES = st.sampled_from([
    *(framed(each, MeterReading, number)(VALUES["meter-readings"][0]) for number, each in enumerate(FORMATS, 1)),
    *(key_of(number) for number in range(1, 6)),
    *(bytes([byte]) for byte in (0, 1, 2, 0x7F, 0x80, 0xFF)),
    VALUES["meter-readings"][1],
])  # fmt: skip
DECODER = decoder_of(
    registry_of(
        *(own_schema(each, MeterReading) for each in FORMATS),
        avro(ID, {"name": "n", "type": {"type": "map", "values": ["null", "bytes", "float"]}}, AT, KWH, VOLTAGE),
        RegisteredSchema("PROTOBUF", NESTED),
    )
)


NUMBER_0 = key_of(2) + b"\0\n\7---AAAA\x12\6\b\x80\x80\x80\xc1\6" + bytes(18)  # of a field, which no message has


@settings(max_examples=400, deadline=None)
@example([NUMBER_0])
@given(
    st.lists(
        st.none()
        | st.binary(max_size=60)
        | st.tuples(st.integers(1, 5), st.binary(max_size=60)).map(lambda each: key_of(each[0]) + each[1])
        | st.lists(PIECES, max_size=4).map(b"".join)
        | st.tuples(PIECES, st.integers(0, 60), st.binary(min_size=1, max_size=3)).map(
            lambda change: change[0][: change[1]] + change[2] + change[0][change[1] + 1 :]
        ),
        max_size=5,
    )
)
def test_any_bytes_become_a_row_or_a_dead_letter_together_as_one_by_one(values: list[bytes | None]) -> None:
    together = decode(DECODER, values)
    apart = Decoded([], [], [])
    DECODER._decode_one_by_one(records(values), LIMITS, apart)
    assert (together.rows, reasons(together)) == (apart.rows, reasons(apart))
    assert len(together.rows) + len(together.dead_letters) == len(values)
    assert Reason.INTERNAL_ERROR not in reasons(together)
