"""The network between one client and the broker: requests that take a moment, or get no answer.

The coordinator of the group gets the requests of a client in order, and each only after it has answered the one before: what is
sent behind JoinGroup waits until the group has been joined.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaConnectionError, KafkaError

from tests.simulation.event_loop import ProcessLoop
from tests.simulation.kafka.broker import Broker

T = TypeVar("T")
RETRY_SECONDS: Final = 0.1


class InOrder:
    """One direction of a connection: what is sent arrives after some latency, in the order in which it was sent."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._sent: deque[Callable[[], None]] = deque()

    def send(self, receive: Callable[[], None]) -> None:
        self._sent.append(receive)
        self._broker.scheduler.call_later(self._broker.latency(), self._arrive)

    def _arrive(self) -> None:
        self._sent.popleft()()


class Connection:
    """`cut_off` is whether this client alone does not reach the broker."""

    def __init__(self, broker: Broker, process: ProcessLoop) -> None:
        self.broker = broker
        self.process = process
        self.cut_off = False
        self._requests, self._answers = InOrder(broker), InOrder(broker)
        self._arrived: deque[Callable[[], None]] = deque()  # at the coordinator; it serves the first one

    def is_broken(self) -> bool:
        return self.broker.away or self.cut_off

    async def request(self, answer: Callable[[], T]) -> T:
        """Send a request to the broker, which computes the answer when it arrives there.

        Raises:
            KafkaConnectionError: the broker does not respond.
        """
        reply = self.process.create_future()
        self.process.scheduler.call_later(self.broker.latency(), self._serve, answer, reply)
        result: T = await reply
        return result

    async def ask(self, request: Callable[..., None], *args: Any) -> Any:
        """Send a request to the coordinator and wait for the answer, for as long as it takes."""
        answer = self.process.create_future()
        if self.is_broken():
            await asyncio.sleep(RETRY_SECONDS)
            raise KafkaConnectionError("the coordinator does not respond")
        self.send(request, *args, partial(self._resolve, answer))
        return await answer

    def send(self, request: Callable[..., None], *args: Any) -> None:
        """Send a request to the coordinator; the last argument gets the answer, or the error."""
        *given, receive = args

        def reply(result: Any, error: KafkaError | None) -> None:
            self._answers.send(partial(receive, result, error))
            self._arrived.popleft()
            self._serve_first()

        self._requests.send(partial(self._take, partial(request, *given, reply)))

    def _take(self, request: Callable[[], None]) -> None:
        self._arrived.append(request)
        if len(self._arrived) == 1:
            self._serve_first()

    def _serve_first(self) -> None:
        if self._arrived:
            self._arrived[0]()

    def _serve(self, answer: Callable[[], Any], reply: asyncio.Future[Any]) -> None:
        if self.is_broken():
            self._resolve(reply, None, KafkaConnectionError("the broker does not respond"))
        else:
            self.process.scheduler.call_later(self.broker.latency(), self._resolve, reply, answer(), None)

    def _resolve(self, answer: asyncio.Future[Any], result: Any, error: KafkaError | None) -> None:
        if not answer.done() and not self.process.dead:
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)


def finish(future: "asyncio.Future[None]") -> None:
    """End a future that only waits, once."""
    if not future.done():
        future.set_result(None)
