"""`python -m api`: the read service, with the HTTP gateway when enabled."""

import signal
import sys

import typer
import uvicorn
import uvloop

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
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=10,
        )
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again once it has stopped in order
        signal.signal(number, lambda *_: sys.exit(0))
    uvloop.run(server.serve())


if __name__ == "__main__":
    app()
