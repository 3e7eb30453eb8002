"""Optional packages: the extras of pyproject.toml, and what to install when one is missing."""

from importlib.util import find_spec
from pathlib import Path


def missing_archive(what: str) -> str | None:
    """What to install for files in Parquet; None where pyarrow is installed.

    Args:
        what: the subject of the message, such as `ARCHIVE_DIRECTORY`.
    """
    if find_spec("pyarrow"):
        return None
    return (
        f"{what} needs the extra `archive`: pip install 'energy-ingestion-engine[archive]', "
        "or the image of `docker build --target full`"
    )


def missing_formats(what: str) -> str | None:
    """What to install for records in Avro, Protobuf or with a JSON Schema; None where the packages are installed."""
    if all(map(find_spec, ("fastavro", "google.protobuf", "httpx", "proto_schema_parser"))):
        return None
    return f"{what} needs the extra `formats`: pip install 'energy-ingestion-engine[formats]'; every image has it"


def missing_otel(what: str) -> str | None:
    """What to install for traces; None where OpenTelemetry's SDK and its exporter are installed."""
    try:
        installed = all(map(find_spec, ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")))
    except ModuleNotFoundError:  # of a parent package
        installed = False
    if installed:
        return None
    return (
        f"{what} needs the extra `otel`: pip install 'energy-ingestion-engine[otel]'; every image has it; "
        "OTEL_SDK_DISABLED=true does without traces"
    )


def missing_oauth(what: str) -> str | None:
    """What to install for tokens from a token endpoint; None where the package is installed."""
    if find_spec("httpx"):
        return None
    return f"{what} needs the extra `oauth`: pip install 'energy-ingestion-engine[oauth]'; every image has it"


def missing_msk(what: str) -> str | None:
    """What to install for tokens that AWS credentials sign; None where the package is installed."""
    if find_spec("aws_msk_iam_sasl_signer"):
        return None
    return f"{what} needs the extra `msk`: pip install 'energy-ingestion-engine[msk]'; no image has it"


def require_archive(directory: Path | None) -> Path | None:
    """Validates ARCHIVE_DIRECTORY.

    Raises:
        ValueError: it is set, and pyarrow is not installed.
    """
    problem = directory and missing_archive("ARCHIVE_DIRECTORY")
    if problem:
        raise ValueError(problem)
    return directory
