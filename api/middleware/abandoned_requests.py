"""Requests whose client disconnects before the response."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class AbandonedRequestsMiddleware:
    """Cancels a GET request whose client disconnects before a response was started, so that its queries end.

    Without it, the server would compute the response to its end, and requests of clients that wait would queue behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
        else:
            await _AbandonableRequest(receive, send).run(self._app, scope)


class _AbandonableRequest:
    """One request, with a task that reads all messages of its client."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._responds = False
        self._abandoned = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        request: Any = asyncio.current_task()
        watching = asyncio.create_task(self._watch(request), name="client")
        try:
            await app(scope, self._next_message, self._send_response)
        except asyncio.CancelledError:
            if not self._abandoned:
                raise
            request.uncancel()
        finally:
            watching.cancel()

    async def _watch(self, request: "asyncio.Task[None]") -> None:
        while True:
            message = await self._receive()
            self._messages.put_nowait(message)
            if message["type"] == "http.disconnect":
                break
        if not self._responds:
            self._abandoned = True
            request.cancel()

    async def _next_message(self) -> Message:
        message = await self._messages.get()
        if message["type"] == "http.disconnect":
            self._messages.put_nowait(message)  # every further call returns it again, as the server would
        return message

    async def _send_response(self, message: Message) -> None:
        self._responds = True
        await self._send(message)
