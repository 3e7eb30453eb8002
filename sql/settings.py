"""Settings of the database's own commands (migrate, maintain, assign, archive, doctor)."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from schemas.config.settings import DatabaseSettings, JudgementSettings, KafkaSettings, LogSettings, RetentionDays


class SqlSettings(DatabaseSettings, LogSettings):
    """What `python -m sql` reads from the environment."""

    retention_days: RetentionDays = 400
    migrate_lock_timeout_ms: int = Field(
        3000,
        ge=1,
        le=60_000,
        description="a migration waits so long for a lock, then lets the writers pass and tries again",
    )
    migrate_give_up_seconds: float = Field(
        600, gt=0, description="a migration that got no lock for so long is given up; nothing of it was applied"
    )


class MaintainSettings(SqlSettings, JudgementSettings):
    """What `python -m sql maintain` reads besides."""

    maintain_interval_seconds: int = Field(
        60, ge=1, description="from one round to the next; the fleet is judged in each"
    )
    archive_directory: Path | None = Field(
        None,
        description="where months go as Parquet before they are dropped; unset: they are dropped without",
    )
    dead_letter_retention_days: int = Field(
        90,
        ge=1,
        description="how long dead letters are kept after they were replayed or discarded, and alerts after they were sent",
    )
    pack_open_key_gib: int = Field(
        32,
        ge=0,
        description="the key of a month that is being written is built anew whenever it has grown by half, up to this size; "
        "0: only once the month is over",
    )
    rollup_grace_minutes: int = Field(
        10, ge=0, le=1440, description="an hour is rolled up so long after its end; later readings cost a second pass"
    )
    fault_open_after: int = Field(
        5, ge=1, description="a fault opens after so many evaluations in a row below the threshold"
    )
    fault_close_after: int = Field(5, ge=1, description="it closes after so many in a row at or above the higher one")
    fault_close_from_percent: float = Field(
        87, ge=0, le=100, description="the higher one: not less than FAULT_BELOW_PERCENT"
    )

    maintain_metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="for /metrics; 0 takes any free port; unset: 9465, or any free port when that is taken",
    )

    maintain_metrics_host: str = Field(
        "0.0.0.0",  # noqa: S104 - Prometheus comes from outside
        description="the address that MAINTAIN_METRICS_PORT is opened on",
    )

    @model_validator(mode="after")
    def _closes_above_where_it_opens(self) -> Self:
        if self.fault_close_from_percent < self.fault_below_percent:
            raise ValueError("FAULT_CLOSE_FROM_PERCENT must not be less than FAULT_BELOW_PERCENT")
        return self


class DoctorSettings(MaintainSettings, KafkaSettings):
    """What `python -m sql doctor` compares the database with: nothing of Kafka but the names of the topics."""

    database_pool_size: int = Field(20, ge=1, le=1000, description="most connections of each read service")
