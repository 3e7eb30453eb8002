"""Responses to clients that have disconnected."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.config.transports import is_closed_transport


class IgnoreDisconnectsMiddleware:
    """Drops messages that can no longer be sent, so that a client's disconnect is not logged as an error.

    uvicorn reports the disconnect only to the last request of a connection; pipelined requests before it still respond.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_if_connected(message: Message) -> None:
            try:
                await send(message)
            except RuntimeError as error:
                if not is_closed_transport(error):
                    raise

        await self._app(scope, receive, send_if_connected)
