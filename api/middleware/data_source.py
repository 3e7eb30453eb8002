"""`Data-Source` and `Data-Staleness-Seconds` on responses that were read from a database."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.database.routing import READ_ORIGIN, ReadOrigin

SOURCE: Final = "Data-Source"
ARCHIVE: Final = "archive"
STALENESS: Final = "Data-Staleness-Seconds"


class DataSourceMiddleware:
    """Opens a ReadOrigin for each request, which the database room fills in, and turns it into headers of the response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = ReadOrigin()
        token = READ_ORIGIN.set(origin)

        async def send_with_source(message: Message) -> None:
            if message["type"] == "http.response.start" and origin.source:
                headers = MutableHeaders(scope=message)
                headers[SOURCE] = f"{origin.source}, {ARCHIVE}" if origin.archive else origin.source
                if origin.staleness is not None:
                    headers[STALENESS] = f"{origin.staleness:.1f}"
            await send(message)

        try:
            await self._app(scope, receive, send_with_source)
        finally:
            READ_ORIGIN.reset(token)
