"""Topics are never created by our clients."""

import re

import pytest
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v5

from schemas.config.settings import KafkaSettings
from tests.support.repository import ROOT

CREATES_TOPICS = {"deploy/stack/topics.py", "deploy/stack/kafka.py"}  # the local stack, before there are settings
CLIENT = re.compile(r"\bAIOKafka(?:Consumer|Producer|AdminClient)\(\s*(.*)")


def clients() -> dict[str, list[str]]:
    """The first argument of each Kafka client in our packages, by file."""
    files = (
        file for package in ("api", "consumer", "deploy", "schemas", "sql") for file in (ROOT / package).rglob("*.py")
    )
    return {str(file.relative_to(ROOT)): CLIENT.findall(file.read_text()) for file in files}


def test_a_request_for_metadata_does_not_allow_the_broker_to_create_a_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        MetadataRequest.__init__, "__defaults__", (None, None)
    )  # as the library has it; restored afterwards
    KafkaSettings().client_options()
    request = MetadataRequest(["meter-readings"]).build(MetadataRequest_v5)
    assert request.allow_auto_topic_creation is False


def test_every_kafka_client_is_created_with_our_options() -> None:
    found = {file: arguments for file, arguments in clients().items() if arguments and file not in CREATES_TOPICS}
    assert len(found) > 4
    for file, arguments in found.items():
        assert all(re.match(r"\*\*(self\._)?settings\.client_options\(\)", each) for each in arguments), file
