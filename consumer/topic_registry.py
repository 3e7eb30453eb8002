"""The kinds of record there are, and which topic carries which."""

from functools import partial
from typing import Final

from consumer.records.record_type import RecordType, TelemetryType
from consumer.settings import ConsumerSettings
from consumer.storage.assignments import write_assignments
from consumer.storage.readings import write_readings
from consumer.storage.registers import write_registers
from schemas.records import assignments, readings
from schemas.records.readings import MeterReading, RegisterReading, VehicleReading
from sql.queries import queries


def kinds(settings: ConsumerSettings) -> dict[str, RecordType]:
    """What each topic carries that is read."""
    read: dict[str, RecordType] = {
        settings.kafka_meter_topic: METER_READINGS,
        settings.kafka_vehicle_topic: VEHICLE_READINGS,
        settings.kafka_assignment_topic: assignments_from(settings.kafka_assignment_topic),
    }
    if settings.kafka_register_topic:
        read[settings.kafka_register_topic] = registers(settings.register_jitter_kwh)
    return read


def registers(jitter_kwh: float) -> RecordType:
    """The kind of reading that is a register; one that falls by `jitter_kwh` at most has not been reset."""
    return TelemetryType(
        name="register",
        turn=3,
        decode=readings.decode_register,
        decode_lines=readings.decode_registers,
        refusal=partial(readings.refusal, RegisterReading),
        write=partial(write_registers, jitter_kwh=jitter_kwh),
        history="meter_register_history",
        columns=("meter_id", "recorded_at", "kwh_register", "voltage"),
        arguments=("ids", "times", "kwhs", "voltages"),
        newest=queries.newest_meter_readings,  # of either kind: never older than the newest register
        insert_new=queries.insert_new_registers,
        match=queries.match_registers,
    )


def assignments_from(topic: str) -> RecordType:
    """The kind of record that declares assignments; they remember the topic they came from."""
    return RecordType(
        name="assignment",
        turn=4,  # the last: whoever declares holds up all others that do until the end of the transaction
        decode=assignments.decode_assignment,
        refusal=assignments.refusal,
        limits=assignments.CALENDAR,
        needed=False,  # readings are stored all the same, and assignments may come from files alone
        write=partial(write_assignments, origin=f"kafka:{topic}"),
    )


METER_READINGS: Final = TelemetryType(
    name="meter",
    turn=1,
    decode=readings.decode_meter,
    decode_lines=readings.decode_meters,
    refusal=partial(readings.refusal, MeterReading),
    write=partial(write_readings, side="meter", upsert_status=queries.upsert_meter_status),
    history="meter_telemetry_history",
    columns=("meter_id", "recorded_at", "kwh_consumed_ac", "voltage"),
    arguments=("ids", "times", "kwhs", "voltages"),
    newest=queries.newest_meter_readings,
    insert_new=queries.insert_new_meter_readings,
    match=queries.match_meter_readings,
)
VEHICLE_READINGS: Final = TelemetryType(
    name="vehicle",
    turn=2,
    decode=readings.decode_vehicle,
    decode_lines=readings.decode_vehicles,
    refusal=partial(readings.refusal, VehicleReading),
    write=partial(write_readings, side="vehicle", upsert_status=queries.upsert_vehicle_status),
    history="vehicle_telemetry_history",
    columns=("vehicle_id", "recorded_at", "kwh_delivered_dc", "soc", "battery_temp"),
    arguments=("ids", "times", "kwhs", "socs", "temperatures"),
    newest=queries.newest_vehicle_readings,
    insert_new=queries.insert_new_vehicle_readings,
    match=queries.match_vehicle_readings,
)
