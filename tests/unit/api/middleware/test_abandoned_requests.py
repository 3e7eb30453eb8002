"""Requests of clients that disconnect: cancelled before the response, and left alone afterwards."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.middleware.abandoned_requests import AbandonedRequestsMiddleware
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}


class Client:
    """A client that sends a request and may disconnect."""

    def __init__(self) -> None:
        self.disconnect = asyncio.Event()
        self.received: list[Message] = []
        self._requested = False

    async def receive(self) -> Message:
        if not self._requested:
            self._requested = True
            return REQUEST
        await self.disconnect.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.received.append(message)


class Application:
    """Waits without end before its response or, with `responds`, after the start of it; then for the disconnect."""

    def __init__(self, *, responds: bool) -> None:
        self.responds = responds
        self.reached = False
        self.outcome = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            assert await receive() == REQUEST
            if self.responds:
                await send(START)
            self.reached = True
            if not self.responds:
                await asyncio.Event().wait()
            assert await receive() == await receive() == {"type": "http.disconnect"}
            self.outcome = "told of the disconnect"
        except asyncio.CancelledError:
            self.outcome = "cancelled"
            raise


async def run(application: Application, method: str = "GET") -> tuple[Client, "asyncio.Task[None]"]:
    client, middleware = Client(), AbandonedRequestsMiddleware(application)
    scope: dict[str, Any] = {"type": "http", "method": method}
    running = asyncio.create_task(middleware(scope, client.receive, client.send))

    async def reached() -> bool:
        return application.reached

    await until(reached, "the application waits", every=0)
    return client, running


async def test_a_request_is_cancelled_when_its_client_leaves_before_the_response() -> None:
    application = Application(responds=False)
    client, running = await run(application)
    client.disconnect.set()
    await running  # as the server sees it, the application has returned
    assert (application.outcome, client.received) == ("cancelled", [])


async def test_a_response_that_has_started_is_told_of_the_disconnect_and_not_cancelled() -> None:
    application = Application(responds=True)
    client, running = await run(application)
    client.disconnect.set()
    await running
    assert (application.outcome, client.received) == ("told of the disconnect", [START])


async def test_a_cancellation_by_the_server_is_passed_on() -> None:
    application = Application(responds=False)
    _, running = await run(application)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert application.outcome == "cancelled"


async def test_a_post_is_not_cancelled() -> None:
    application = Application(responds=False)
    client, running = await run(application, "POST")
    client.disconnect.set()
    await asyncio.wait({running}, timeout=0)
    assert application.outcome == ""
    running.cancel()
    await asyncio.wait({running})
