"""Our Kafka clients never create topics, and try again after a lost connection whatever the event loop."""

import asyncio
import re
import socket
from collections.abc import Callable

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v5

from schemas.config.settings import KafkaSettings
from tests.support.repository import ROOT

CREATES_TOPICS = {
    "deploy/stack/kafka.py",
    "deploy/containers/producer.py",
}  # the local stack, before there are settings
CLIENT = re.compile(r"\bAIOKafka(?:Consumer|Producer|AdminClient)\(\s*(.*)")


def clients() -> dict[str, list[str]]:
    """The first argument of each Kafka client in our packages, by file."""
    files = (
        file for package in ("api", "consumer", "deploy", "schemas", "sql") for file in (ROOT / package).rglob("*.py")
    )
    return {str(file.relative_to(ROOT)): CLIENT.findall(file.read_text()) for file in files}


def test_a_request_for_metadata_does_not_allow_the_broker_to_create_a_topic() -> None:
    KafkaSettings().client_options()
    request = MetadataRequest(["meter-readings"]).build(MetadataRequest_v5)
    assert request.allow_auto_topic_creation is False


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("request_", ["send", "_send_sasl_token"])
def test_a_request_on_a_connection_that_was_just_lost_is_one_that_aiokafka_repeats(
    monkeypatch: pytest.MonkeyPatch, loop: Callable[[], asyncio.AbstractEventLoop], request_: str
) -> None:
    KafkaSettings().client_options()
    monkeypatch.setattr(AIOKafkaConnection, "_do_version_lookup", lambda _: asyncio.sleep(0))
    with asyncio.Runner(loop_factory=loop) as runner, pytest.raises(KafkaConnectionError):
        runner.run(_request_on_a_lost_connection(request_))


async def _request_on_a_lost_connection(request: str) -> None:
    """A request between the loss of its connection and the moment when aiokafka learns of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = AIOKafkaConnection("127.0.0.1", server.getsockname()[1])
        await connection.connect()
        connection._versions = {MetadataRequest.API_KEY: (5, 5)}
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # closes the transport; the task that reads runs later
        await getattr(connection, request)(MetadataRequest(["meter-readings"]) if request == "send" else b"token")


def test_every_kafka_client_is_created_with_our_options() -> None:
    found = {file: arguments for file, arguments in clients().items() if arguments and file not in CREATES_TOPICS}
    assert len(found) > 4
    for file, arguments in found.items():
        assert all(re.match(r"\*\*(self\._)?settings\.client_options\(\)", each) for each in arguments), file
