"""`python -m api`: the read service, with the HTTP gateway when enabled."""

import signal
import socket
import sys

import typer
import uvicorn
import uvloop
from fastapi import FastAPI

from api.app import create_app
from api.settings import ApiSettings
from schemas.log import configure_logging
from schemas.settings import from_environment

app = typer.Typer(
    help="The read service: answers from PostgreSQL, readings over HTTP into Kafka.", add_completion=False
)


@app.callback(invoke_without_command=True)
def run() -> None:
    """Serve until SIGTERM or Ctrl-C. Settings come from the environment (.env.example)."""
    settings = from_environment(ApiSettings)
    configure_logging(settings)
    service = create_app(settings)
    server = _Server(
        uvicorn.Config(
            service,
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=10,
        ),
        service,
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again once it has stopped in order
        signal.signal(number, lambda *_: sys.exit(0))
    uvloop.run(server.serve())


class _Server(uvicorn.Server):
    """Ends the event streams first, which would hold the stop up: they never end by themselves."""

    def __init__(self, config: uvicorn.Config, service: FastAPI) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, after that."""
        self._service.state.live.end_streams()
        await super().shutdown(sockets)


if __name__ == "__main__":
    app()
