"""Quix Streams with its PostgreSQL sink, as one application for both topics; runs in its own virtual environment (`.venv-bench`).

Settings are the defaults, with two exceptions: commits are by number of records, which makes batches large, and the sink must not
alter our tables. History keeps existing rows; live status takes the row that arrived last.
"""

import os
from typing import Any, Final
from urllib.parse import urlsplit

from quixstreams import Application  # type: ignore[import-not-found]
from quixstreams.sinks.community.postgresql import PostgreSQLSink  # type: ignore[import-not-found]

COMMIT_EVERY: Final = 20_000
DATABASE: Final = urlsplit(os.environ["DATABASE_URL"])


def meter_history(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "meter_id": value["meterId"],
        "recorded_at": value["timestamp"],
        "kwh_consumed_ac": value["kwhConsumedAc"],
        "voltage": value["voltage"],
    }


def meter_live(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "meter_id": row["meter_id"],
        "recorded_at": row["recorded_at"],
        "last_kwh_consumed_ac": row["kwh_consumed_ac"],
        "last_voltage": row["voltage"],
    }


def vehicle_history(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "vehicle_id": value["vehicleId"],
        "recorded_at": value["timestamp"],
        "kwh_delivered_dc": value["kwhDeliveredDc"],
        "soc": value["soc"],
        "battery_temp": value["batteryTemp"],
    }


def vehicle_live(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "vehicle_id": row["vehicle_id"],
        "recorded_at": row["recorded_at"],
        "last_kwh_delivered_dc": row["kwh_delivered_dc"],
        "soc": row["soc"],
        "last_battery_temp": row["battery_temp"],
    }


def sink(table: str, **settings: Any) -> PostgreSQLSink:
    return PostgreSQLSink(
        host=DATABASE.hostname,
        port=DATABASE.port,
        dbname=DATABASE.path.removeprefix("/"),
        user=DATABASE.username,
        password=DATABASE.password,
        table_name=table,
        schema_auto_update=False,
        include_metadata=False,
        **settings,
    )


def main() -> None:
    application = Application(
        broker_address=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        consumer_group=os.environ["KAFKA_GROUP_ID"],
        auto_offset_reset="earliest",
        commit_every=COMMIT_EVERY,
        loglevel="WARNING",
    )
    for name, to_history, to_live in (("meter", meter_history, meter_live), ("vehicle", vehicle_history, vehicle_live)):
        topic = application.topic(
            os.environ[f"KAFKA_{name.upper()}_TOPIC"], key_deserializer="str", value_deserializer="json"
        )
        history = sink(f"{name}_telemetry_history", on_conflict_do_nothing=True)
        live = sink(f"{name}_live_status", primary_key_columns=f"{name}_id", upsert_on_primary_key=True)
        rows = application.dataframe(topic).apply(to_history)
        rows.apply(to_live).sink(live)
        rows.sink(history)
    application.run()


if __name__ == "__main__":
    main()
