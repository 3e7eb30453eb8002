"""Settings of `python -m sql`: migrate, maintain, assign, archive, doctor."""

from typing import Self

from pydantic import Field, model_validator

from schemas.config.database_url import DatabaseUrl
from schemas.config.settings import (
    ArchiveDirectory,
    DatabaseSettings,
    JudgementSettings,
    KafkaSettings,
    LogSettings,
    RegisterJitter,
    RetentionDays,
)


class SqlSettings(DatabaseSettings, LogSettings):
    """Settings of `python -m sql migrate` and `assign`."""

    retention_days: RetentionDays = 400
    fold_after_days: int = Field(
        default_factory=lambda before: min(3, before.get("retention_days", 3)),
        ge=1,
        description="a day is folded into one row for each device this many days after its end; at most RETENTION_DAYS",
    )
    migrate_lock_timeout_ms: int = Field(
        3000,
        ge=1,
        le=60_000,
        description="how long a migration waits for a lock before it gives way to writers and retries",
    )
    migrate_give_up_seconds: float = Field(
        600, gt=0, description="how long a migration is retried; when it fails, nothing of it was applied"
    )

    @model_validator(mode="after")
    def _check_days_of_rows(self) -> Self:
        if self.fold_after_days > self.retention_days:
            raise ValueError("FOLD_AFTER_DAYS must not be more than RETENTION_DAYS")
        return self


class MaintainSettings(SqlSettings, JudgementSettings):
    """Settings of `python -m sql maintain` and `archive`."""

    maintain_interval_seconds: int = Field(
        60, ge=1, description="interval of maintenance rounds; each one evaluates the fleet"
    )
    archive_directory: ArchiveDirectory = None
    dead_letter_retention_days: int = Field(
        90,
        ge=1,
        description="days to keep dead letters after they were replayed or discarded, and alerts after they were published",
    )
    rollup_grace_minutes: int = Field(
        10,
        ge=0,
        le=1440,
        description="delay after the end of an hour before it is rolled up; later readings cost a second pass",
    )
    fault_open_after: int = Field(
        5, ge=1, description="consecutive evaluations below FAULT_BELOW_PERCENT that open a fault"
    )
    fault_close_after: int = Field(
        5, ge=1, description="consecutive evaluations from FAULT_CLOSE_FROM_PERCENT on that close it"
    )
    fault_close_from_percent: float = Field(
        87,
        ge=0,
        le=100,
        description="efficiency in % that counts towards closing a fault; at least FAULT_BELOW_PERCENT",
    )

    maintain_metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port of /metrics; 0: any free port; unset: 9465, or any free port when that is in use",
    )

    maintain_metrics_host: str = Field(
        "0.0.0.0",  # noqa: S104 - Prometheus scrapes from another host
        description="address that MAINTAIN_METRICS_PORT listens on",
    )

    @model_validator(mode="after")
    def _check_fault_thresholds(self) -> Self:
        if self.fault_close_from_percent < self.fault_below_percent:
            raise ValueError("FAULT_CLOSE_FROM_PERCENT must not be less than FAULT_BELOW_PERCENT")
        return self


class MoveSettings(DatabaseSettings, LogSettings):
    """Settings of `python -m sql cells move`. DATABASE_URL is the cell that the devices leave."""

    target_database_url: DatabaseUrl | None = Field(
        None, description="the database of the cell that devices are moved to, for the owner of its schema"
    )
    register_jitter_kwh: RegisterJitter = 1.0


class DoctorSettings(MaintainSettings, KafkaSettings):
    """Settings of `python -m sql doctor`. Of the Kafka settings it uses only the names of the topics."""

    database_pool_size: int = Field(20, ge=1, le=1000, description="maximum number of connections of each read service")
