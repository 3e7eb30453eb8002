"""Patches of aiokafka, for every client of this process."""

import functools
from collections.abc import Callable
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from schemas.config.transports import is_closed_transport


@functools.cache  # once in a process
def patch_aiokafka() -> None:
    """Forbid the creation of topics, and report a lost connection as one under uvloop too.

    A request for the metadata of a topic by name says whether the broker may create the topic, and aiokafka always allows it.
    With the broker's default `auto.create.topics.enable=true`, a running client would restore a deleted topic within a second,
    with the broker's default number of partitions.

    A transport that has lost its connection, of which aiokafka will learn in a moment, ignores what is written to it. uvloop's
    raises RuntimeError instead, and aiokafka's group coordination or its producer ends with it (aiokafka's issue 1038).
    """
    MetadataRequest.__init__.__defaults__ = (None, False)
    for name in ("send", "_send_sasl_token"):
        setattr(AIOKafkaConnection, name, _closing_when_lost(getattr(AIOKafkaConnection, name)))


def _closing_when_lost(send: Callable[..., Any]) -> Callable[..., Any]:
    """As `send` does when it gets an OSError: close the connection, and raise an error after which aiokafka tries again."""

    @functools.wraps(send)
    def send_or_close(connection: AIOKafkaConnection, *arguments: Any, **options: Any) -> Any:
        try:
            return send(connection, *arguments, **options)
        except RuntimeError as error:
            if not is_closed_transport(error):
                raise
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken: {error}") from error

    return send_or_close
