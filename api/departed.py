"""Clients that leave before their answer: nothing of ours has failed, and nobody is there to be told."""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LetThemGo:
    """ASGI middleware: ends the work for a client that is gone, without an error in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what can no longer be sent is dropped."""

        async def to_whoever_is_there(message: Message) -> None:
            try:
                await send(message)
            except (
                RuntimeError
            ) as error:  # uvloop's, when the server has closed the connection over bytes that are no HTTP
                if "closed" not in str(error):
                    raise

        try:
            await self._app(scope, receive, to_whoever_is_there)
        except ClientDisconnect:
            return
