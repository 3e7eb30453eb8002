"""Clients that leave before their answer: nothing of ours has failed, and nobody is there to be told."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class IgnoreDisconnectsMiddleware:
    """ASGI middleware around everything else: what can no longer be sent is dropped, without an error in the log.

    uvicorn tells only the last request of a connection that it is gone; those before it, pipelined, go on to answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def to_whoever_is_there(message: Message) -> None:
            try:
                await send(message)
            except RuntimeError as error:
                if "the handler is closed" not in str(error):  # uvloop's words for a connection that is gone
                    raise

        await self._app(scope, receive, to_whoever_is_there)
