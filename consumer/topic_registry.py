"""The topic registry: the record types, and which topic carries which."""

from functools import partial
from typing import Final

from consumer.records.record_type import RecordType, TelemetryType
from consumer.settings import ConsumerSettings
from consumer.storage.assignments import write_assignments
from consumer.storage.readings import write_readings
from consumer.storage.registers import write_registers
from schemas.records import assignments as assignment_records
from schemas.records import readings
from schemas.records.readings import MeterReading, RegisterReading, VehicleReading
from sql.queries import queries


def record_types_by_topic(settings: ConsumerSettings) -> dict[str, RecordType]:
    """The record type of each topic that the consumer reads."""
    return {
        **dict.fromkeys(settings.meter_topics, METER_READINGS),
        **dict.fromkeys(settings.vehicle_topics, VEHICLE_READINGS),
        **{topic: assignments(topic) for topic in settings.assignment_topics},
        **dict.fromkeys(settings.register_topics, register_readings(settings.register_jitter_kwh)),
    }


def register_readings(jitter_kwh: float) -> RecordType:
    """Readings of cumulative registers; a register that falls by at most `jitter_kwh` has not been reset."""
    return TelemetryType(
        name="register",
        struct=RegisterReading,
        write_order=3,
        decode=readings.decode_register,
        decode_lines=readings.decode_registers,
        explain_rejection=partial(readings.invalid_reading, RegisterReading),
        write=partial(write_registers, jitter_kwh=jitter_kwh),
        history="meter_register_history",
        columns=("meter_id", "recorded_at", "kwh_register", "voltage"),
        arguments=("ids", "times", "kwhs", "voltages"),
        newest=queries.newest_meter_readings,  # of intervals and registers: never older than the newest register
        insert_new=queries.insert_new_registers,
        match=queries.match_registers,
        insert_late=queries.insert_late_registers,
        match_late=queries.match_late_registers,
    )


def assignments(topic: str) -> RecordType:
    """Vehicle-meter assignments; each is stored with the topic that it came from."""
    return RecordType(
        name="assignment",
        struct=assignment_records.Assignment,
        write_order=4,  # last: until its end, a transaction that writes assignments blocks all others that do
        decode=assignment_records.decode_assignment,
        explain_rejection=assignment_records.invalid_assignment,
        limits=assignment_records.CALENDAR,
        required=False,  # readings are stored without them, and assignments may come from files alone
        write=partial(write_assignments, origin=f"kafka:{topic}"),
    )


METER_READINGS: Final = TelemetryType(
    name="meter",
    struct=MeterReading,
    write_order=1,
    decode=readings.decode_meter,
    decode_lines=readings.decode_meters,
    explain_rejection=partial(readings.invalid_reading, MeterReading),
    write=partial(write_readings, side="meter", upsert_status=queries.upsert_meter_status),
    history="meter_telemetry_history",
    columns=("meter_id", "recorded_at", "kwh_consumed_ac", "voltage"),
    arguments=("ids", "times", "kwhs", "voltages"),
    newest=queries.newest_meter_readings,
    insert_new=queries.insert_new_meter_readings,
    match=queries.match_meter_readings,
    insert_late=queries.insert_late_meter_readings,
    match_late=queries.match_late_meter_readings,
)
VEHICLE_READINGS: Final = TelemetryType(
    name="vehicle",
    struct=VehicleReading,
    write_order=2,
    decode=readings.decode_vehicle,
    decode_lines=readings.decode_vehicles,
    explain_rejection=partial(readings.invalid_reading, VehicleReading),
    write=partial(write_readings, side="vehicle", upsert_status=queries.upsert_vehicle_status),
    history="vehicle_telemetry_history",
    columns=("vehicle_id", "recorded_at", "kwh_delivered_dc", "soc", "battery_temp"),
    arguments=("ids", "times", "kwhs", "socs", "temperatures"),
    newest=queries.newest_vehicle_readings,
    insert_new=queries.insert_new_vehicle_readings,
    match=queries.match_vehicle_readings,
    insert_late=queries.insert_late_vehicle_readings,
    match_late=queries.match_late_vehicle_readings,
)
