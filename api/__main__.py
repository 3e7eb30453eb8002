"""Command line of the API: `python -m api`."""

import sys
from enum import StrEnum
from typing import Annotated, Final

import typer
from fastapi import FastAPI

from api.app import create_app, create_gateway
from api.auth.api_keys import InvalidKeys
from api.commands import keys
from api.server.uvicorn_server import serve
from api.settings import ApiSettings, GatewaySettings
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from schemas.config.termination import end_on_sigterm
from schemas.tracing.settings import start_tracer

app = typer.Typer(help="The HTTP API: reads from PostgreSQL, and accepts readings for Kafka.", add_completion=False)
app.add_typer(keys.app, name="keys")
NO_ACCESS: Final = """access to the API is not configured. Either
  create an API key and name its file:  python -m api keys create --name NAME --scope read --file keys.json
                                        API_KEYS_FILE=keys.json python -m api
  or allow access without keys:         API_OPEN=true python -m api
"""
CONFLICTING_ACCESS: Final = (
    "API_OPEN=true allows access without keys, and API_KEYS_FILE requires keys: unset one of them\n"
)


class Component(StrEnum):
    INGESTION = "ingestion"


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    only: Annotated[
        Component | None, typer.Option(help="serve only the ingestion gateway, which needs Kafka and no database")
    ] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C. Settings come from the environment (.env.example)."""
    end_on_sigterm()
    if context.invoked_subcommand:
        return
    settings = from_environment(GatewaySettings if only else ApiSettings)
    configure_logging(settings)
    serve(_application(settings), settings)


def _application(settings: GatewaySettings) -> FastAPI:
    if settings.api_open == bool(settings.api_keys_file):
        sys.stderr.write(CONFLICTING_ACCESS if settings.api_open else NO_ACCESS)
        sys.exit(2)
    try:
        if isinstance(settings, ApiSettings):
            return create_app(settings, start_tracer(settings, "energy-api"))
        return create_gateway(settings, start_tracer(settings, "energy-gateway"))
    except InvalidKeys as error:
        sys.stderr.write(f"API_KEYS_FILE: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    app()
