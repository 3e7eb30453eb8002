"""Settings of traces, and the tracer that they ask for."""

from typing import Final, Self

from pydantic import Field, model_validator

from schemas.config.environment import Environment
from schemas.config.extras import missing_otel
from schemas.tracing.tracer import NO_TRACER, Tracer

_URL: Final = r"^https?://[^ ]+$"


class TracingSettings(Environment):
    """The collector of traces. The names are those of OpenTelemetry, whose SDK reads many more from the environment."""

    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        pattern=_URL,
        description="OpenTelemetry collector that traces are sent to by OTLP over HTTP, such as http://localhost:4318; "
        "unset: no traces; needs the extra `otel`; docs/tracing.md has further variables",
    )
    otel_exporter_otlp_traces_endpoint: str | None = Field(
        None, pattern=_URL, description="the same as the whole URL, with its path; before OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    otel_sdk_disabled: bool = Field(False, description="true: no traces, whatever the other settings")

    @property
    def traces_url(self) -> str | None:
        """Where traces are sent; None when there are none."""
        if self.otel_sdk_disabled:
            return None
        base = self.otel_exporter_otlp_endpoint
        return self.otel_exporter_otlp_traces_endpoint or (base and f"{base.rstrip('/')}/v1/traces")

    @model_validator(mode="after")
    def _require_packages(self) -> Self:
        if self.traces_url and (problem := missing_otel("OTEL_EXPORTER_OTLP_ENDPOINT")):
            raise ValueError(problem)
        return self


def start_tracer(settings: TracingSettings, service: str) -> Tracer:
    """The tracer of this process, whose spans have `service` as `service.name` unless the environment names another."""
    if settings.traces_url is None:
        return NO_TRACER
    from schemas.tracing.opentelemetry_tracer import OpenTelemetryTracer  # noqa: PLC0415 - the packages of the extra `otel`

    return OpenTelemetryTracer(service, settings.traces_url)
