"""The network between one client and the broker: requests that take a moment, or get no answer."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaConnectionError, KafkaError

from tests.simulation.event_loop import ProcessLoop
from tests.simulation.kafka.broker import Broker

T = TypeVar("T")
RETRY_SECONDS: Final = 0.1


class Connection:
    """`cut_off` is whether this client alone does not reach the broker."""

    def __init__(self, broker: Broker, process: ProcessLoop) -> None:
        self.broker = broker
        self.process = process
        self.cut_off = False

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
        self.process.scheduler.call_later(self.broker.latency(), request, *args, self._replier(answer))
        return await answer

    def _serve(self, answer: Callable[[], Any], reply: asyncio.Future[Any]) -> None:
        if self.is_broken():
            self._resolve(reply, None, KafkaConnectionError("the broker does not respond"))
        else:
            self.process.scheduler.call_later(self.broker.latency(), self._resolve, reply, answer(), None)

    def _replier(self, answer: asyncio.Future[Any]) -> Callable[[Any, KafkaError | None], None]:
        def reply(result: Any, error: KafkaError | None) -> None:
            self.process.scheduler.call_later(self.broker.latency(), self._resolve, answer, result, error)

        return reply

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
