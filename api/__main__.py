"""`python -m api`: the read service, with the HTTP gateway when enabled."""

import signal
import socket
import sys
import time
from enum import StrEnum
from typing import Annotated, Final

import typer
import uvicorn
import uvloop
from fastapi import FastAPI

from api.app import create_app, create_gateway
from api.auth.api_keys import InvalidKeys
from api.commands import keys
from api.middleware.security_headers import protection
from api.server.protocol import ConnectionLimits, limited_protocol
from api.server.stalled_clients import StalledClients
from api.settings import ApiSettings, GatewaySettings
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment

app = typer.Typer(
    help="The read service: answers from PostgreSQL, readings over HTTP into Kafka.", add_completion=False
)
app.add_typer(keys.app, name="keys")
NO_ACCESS: Final = """who may use the API is not said. Either
  make a key, and name its file: python -m api keys create --name somebody --scope read --file keys.json
                                 API_KEYS_FILE=keys.json python -m api
  or let everybody in:           API_OPEN=true python -m api
"""
BOTH: Final = "API_OPEN=true lets everybody in, and API_KEYS_FILE asks for keys: unset one of them\n"


class Part(StrEnum):
    """What may run alone."""

    INGESTION = "ingestion"


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    only: Annotated[Part | None, typer.Option(help="the HTTP gateway alone: it needs Kafka, and no database")] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C. Settings come from the environment (.env.example)."""
    if context.invoked_subcommand:
        return
    settings = from_environment(GatewaySettings if only else ApiSettings)
    configure_logging(settings)
    service = _service(settings)
    server = _Server(_config(service, settings), service)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again once it has stopped in order
        signal.signal(number, lambda *_: sys.exit(0))
    uvloop.run(server.serve())


def _service(settings: GatewaySettings) -> FastAPI:
    if settings.api_open == bool(settings.api_keys_file):
        sys.stderr.write(BOTH if settings.api_open else NO_ACCESS)
        sys.exit(2)
    try:
        return create_app(settings) if isinstance(settings, ApiSettings) else create_gateway(settings)
    except InvalidKeys as error:
        sys.stderr.write(f"API_KEYS_FILE: {error}\n")
        sys.exit(2)


def _config(service: FastAPI, settings: GatewaySettings) -> uvicorn.Config:
    bounds = ConnectionLimits(
        connections=settings.api_max_connections,
        url_bytes=settings.api_max_url_bytes,
        headers=settings.api_max_headers,
        header_bytes=settings.api_max_header_bytes,
        head_seconds=settings.api_head_timeout_seconds,
        protection=protection(settings.api_hsts_seconds),
        refused=service.state.metrics.connections_refused,
    )
    return uvicorn.Config(
        service,
        host=settings.api_host,
        port=settings.api_port,
        http=limited_protocol(bounds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.api_keep_alive_seconds,
        timeout_graceful_shutdown=10,
    )


class _Server(uvicorn.Server):
    """Ends the event streams first, which would hold the stop up: they never end by themselves. Cuts off who does not read."""

    def __init__(self, config: uvicorn.Config, service: FastAPI) -> None:
        super().__init__(config)
        self._service = service
        self._unread = StalledClients(service.state.settings.answer_taken_within_seconds)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; connections are looked at once a second."""
        if counter % 10 == 0:
            cut = self._unread.cut_off(self.server_state.connections, time.monotonic())
            self._service.state.metrics.answers_cut_off.inc(cut)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, after that."""
        if live := getattr(self._service.state, "live", None):
            live.end_streams()
        await super().shutdown(sockets)


if __name__ == "__main__":
    app()
