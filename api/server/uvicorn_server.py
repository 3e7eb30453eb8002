"""uvicorn, configured with our limits, and its graceful shutdown."""

import gc
import signal
import socket
import sys
import time
from typing import Final

import uvicorn
import uvloop
from fastapi import FastAPI

from api.middleware.security_headers import security_headers
from api.server.protocol import ConnectionLimits, limited_protocol
from api.server.stalled_clients import StalledClients
from api.settings import ServingSettings

SHUTDOWN_SECONDS: Final = 10


def serve(app: FastAPI, settings: ServingSettings) -> None:
    """Serves until SIGTERM or SIGINT, then exits the process with code 0."""
    server = UvicornServer(app, settings)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises the signal again after its shutdown
        signal.signal(number, lambda *_: sys.exit(0))
    gc.collect()
    gc.freeze()  # the application stays, and searching all of it for garbage would hold a request up for tens of milliseconds
    uvloop.run(server.serve())


class UvicornServer(uvicorn.Server):
    """Also closes stalled connections while it runs, and ends event streams before it shuts down."""

    def __init__(self, app: FastAPI, settings: ServingSettings) -> None:
        super().__init__(_configuration(app, settings))
        self._app = app
        self._stalled_clients = StalledClients(settings.answer_taken_within_seconds)

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        if counter % 10 == 0:
            closed = self._stalled_clients.close_stalled(self.server_state.connections, time.monotonic())
            self._app.state.metrics.answers_cut_off.inc(closed)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the event streams first: uvicorn waits for open responses, and these have no end of their own."""
        if live_updates := getattr(self._app.state, "live_updates", None):
            live_updates.end_streams()
        await super().shutdown(sockets)


def _configuration(app: FastAPI, settings: ServingSettings) -> uvicorn.Config:
    limits = ConnectionLimits(
        connections=settings.api_max_connections,
        url_bytes=settings.api_max_url_bytes,
        headers=settings.api_max_headers,
        header_bytes=settings.api_max_header_bytes,
        head_seconds=settings.api_head_timeout_seconds,
        response_headers=security_headers(settings.api_hsts_seconds),
        refused=app.state.metrics.connections_refused,
    )
    return uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http=limited_protocol(limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.api_keep_alive_seconds,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
