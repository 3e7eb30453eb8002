"""HEAD where uptime probes send it: to the probes, the metrics and the page."""

from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth.access import OPEN


class HeadRequestsMiddleware:
    """ASGI middleware: a HEAD of what is open is answered as its GET is, without the body. Elsewhere it is a 405."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the server's own scope keeps its method."""
        if scope["type"] == "http" and scope["method"] == "HEAD" and scope["path"] in OPEN:
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
