"""Records of other clients than ours: each codec, format and feature of Java's client and of librdkafka, on the real broker.

docs/formats.md has the same table.
"""

import asyncio
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count, product
from typing import Any

import pytest

from deploy.stack.jars import kafka_jars
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from schemas.records.readings import MeterReading
from tests.support.clients import librdkafka
from tests.support.clients.java import JavaProducers
from tests.support.clients.serializers import serializers
from tests.support.clients.session import Headers, Message, Session, Transaction
from tests.support.database import Database, new_database
from tests.support.formats.encoding import FORMATS, own_schema
from tests.support.formats.registry import RegistryServer, schema_registry
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import meter, minute
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup, service_environment
from tests.support.topics import place_topics

CLIENTS = ("java", "librdkafka")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")  # in the order of their numbers in a batch
VALUES = ("json", *FORMATS)
FEATURES = ("idempotent producer", "transactions", "headers", "schema id in a header", "log-append time")
READINGS = 5  # of each meter
GUIDS = {number: f"00000000-0000-4000-8000-{number:012}" for number in range(1, len(FORMATS) + 1)}
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20  # attributes of a batch


@dataclass(frozen=True, slots=True)
class Run:
    """What became of all records: the consumed energy of each meter, the ledger, and the batches of each partition's log."""

    energy: dict[str, list[float]]
    entries: dict[str, Entry]
    stack: Servers
    topics: dict[str, str]  # by purpose

    def batches(self, purpose: str, partition: int) -> list[tuple[int, int]]:
        """Attributes and producer id of each batch in the log, as the client has sent it."""
        if self.stack.kafka is None:
            pytest.skip("the log is only at hand where the local stack runs Kafka from packages")
        (segment,) = (self.stack.kafka.data / f"{self.topics[purpose]}-{partition}").glob("*.log")
        return list(_batches(segment.read_bytes()))


def _batches(log: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(log):
        (length,) = struct.unpack_from(">i", log, start + 8)
        attributes, _, _, _, producer = struct.unpack_from(">hiqqq", log, start + 21)
        yield attributes, producer
        start += 12 + length


def partition_of(client: str, row: str) -> int:
    """Each client and codec, or feature, has a partition of its own."""
    rows = CODECS if row in CODECS else FEATURES
    return CLIENTS.index(client) * len(rows) + rows.index(row)


def meter_id(client: str, row: str, value_format: str) -> str:
    return f"{client}-{row}-{value_format}".replace(" ", "-")


def readings(device: str) -> list[bytes]:
    return [meter(device, minute(number), number / 8) for number in range(READINGS)]


@pytest.fixture(scope="module")
def registry() -> Iterator[RegistryServer]:
    with schema_registry() as server:
        for number, value_format in enumerate(FORMATS, 1):
            server.schemas[number] = server.schemas[GUIDS[number]] = own_schema(value_format, MeterReading)
            server.subjects[value_format] = [number]
            server.extra[number] = {"guid": GUIDS[number]}
        yield server


class Sessions:
    """What each client sends."""

    def __init__(self, bootstrap_servers: str, topics: dict[str, str], registry: RegistryServer) -> None:
        self._settings = {"bootstrap.servers": bootstrap_servers, "linger.ms": "50", "acks": "all"}
        self._topics = topics
        self._serializers = serializers(registry)
        self._with_header = serializers(registry, id_in_header=True)
        self._numbers = count()

    def of(self, client: str) -> list[Session]:
        return [*(self._codec(client, each) for each in CODECS), *self._features(client)]

    def _codec(self, client: str, codec: str) -> Session:
        messages = [each for value_format in VALUES for each in self._messages(client, codec, value_format)]
        return Session(self._settings | {"compression.type": codec, "enable.idempotence": "false"}, messages)

    def _features(self, client: str) -> Iterator[Session]:
        idempotent = self._settings | {"enable.idempotence": "true"}
        for feature in ("idempotent producer", "headers", "log-append time"):
            yield Session(idempotent, self._messages(client, feature, "avro"))
        in_header = [each for value in FORMATS for each in self._messages(client, "schema id in a header", value)]
        yield Session(idempotent, in_header)
        transactional = idempotent | {"transactional.id": f"{self._topics['features']}-{client}"}
        messages = self._messages(client, "transactions", "avro")
        yield Session(transactional, self._messages(client, "transactions", "aborted"), Transaction.ABORT)
        yield Session(transactional, messages[:2], Transaction.COMMIT)
        yield Session(transactional, self._messages(client, "transactions", "aborted"), Transaction.ABORT)
        yield Session(transactional, messages[2:], Transaction.COMMIT)

    def _messages(self, client: str, row: str, value_format: str) -> list[Message]:
        purpose = "codecs" if row in CODECS else "appended" if row == "log-append time" else "features"
        template = Message(self._topics[purpose], partition_of(client, row), b"")
        messages = []
        for value in readings(meter_id(client, row, value_format)):
            headers: Headers = [("trace", b"\0\xff"), ("trace", b"")] if row == "headers" else []
            serialize = self._with_header if row == "schema id in a header" else self._serializers
            payload = serialize["json" if value_format == "aborted" else value_format](value, headers)
            messages.append(replace(template, value=payload, headers=headers))
        return messages


@pytest.fixture(scope="module")
def run(
    stack: Servers, template: Database, registry: RegistryServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """Both clients send everything, and one consumer writes it."""
    directory = tmp_path_factory.mktemp("interoperability")
    name = directory.name.replace("_", "-")
    topics = {purpose: f"{name}-{purpose}" for purpose in ("codecs", "features", "appended")}
    asyncio.run(_create(stack, topics))
    sessions = Sessions(stack.kafka_bootstrap_servers, topics, registry)
    JavaProducers(directory / "java").run(sessions.of("java"))
    librdkafka.run(sessions.of("librdkafka"))
    meters = Topics(",".join(topics.values()), f"{name}-vehicle", 1, f"{name}-assignment", f"{name}-register")
    with new_database(stack, f"energy_{name}".replace("-", "_"), template) as database, Processes() as processes:
        environment = service_environment(stack, database, meters)
        environment |= {"KAFKA_METER_FORMAT": "auto", "SCHEMA_REGISTRY_URL": registry.url}
        group = ConsumerGroup(processes, environment, directory)
        consumer = group.start()
        yield asyncio.run(_outcome(stack, database, meters, topics))
        assert group.stop(consumer) == 0


async def _create(stack: Servers, topics: dict[str, str]) -> None:
    partitions = {number: [1] for number in range(len(CLIENTS) * len(CODECS))}
    for purpose, topic in topics.items():
        settings = {"message.timestamp.type": "LogAppendTime"} if purpose == "appended" else {}
        await place_topics(stack.kafka_bootstrap_servers, {topic: partitions}, settings)


async def _outcome(stack: Servers, database: Database, meters: Topics, topics: dict[str, str]) -> Run:
    await until_consumed(database, None, len(expected()) * READINGS)
    energy: dict[str, list[float]] = {}
    rows = await database.fetch("SELECT meter_id, kwh_consumed_ac FROM meter_telemetry_history ORDER BY recorded_at")
    for row in rows:
        energy.setdefault(row["meter_id"], []).append(row["kwh_consumed_ac"])
    return Run(energy, await ledger(database, meters), stack, topics)


def formats_of(row: str) -> tuple[str, ...]:
    """The formats that are sent for a row of the table."""
    return VALUES if row in CODECS else FORMATS if row == "schema id in a header" else ("avro",)


def expected() -> list[str]:
    """The meters whose readings count: those of aborted transactions do not."""
    return [
        meter_id(client, row, value_format)
        for client, row in product(CLIENTS, (*CODECS, *FEATURES))
        for value_format in formats_of(row)
    ]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("value_format", VALUES)
@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_and_format_is_read(run: Run, client: str, codec: str, value_format: str) -> None:
    assert run.energy[meter_id(client, codec, value_format)] == [number / 8 for number in range(READINGS)]
    codecs = {attributes & 7 for attributes, _ in run.batches("codecs", partition_of(client, codec))}
    assert codecs == {CODECS.index(codec)}, "the client has compressed as it was asked to"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_is_read(run: Run, client: str, feature: str) -> None:
    for value_format in formats_of(feature):
        assert run.energy[meter_id(client, feature, value_format)] == [number / 8 for number in range(READINGS)]
    batches = run.batches("appended" if feature == "log-append time" else "features", partition_of(client, feature))
    assert all(producer >= 0 for _, producer in batches), "an idempotent producer numbers its batches"
    assert all(bool(attributes & TRANSACTIONAL) == (feature == "transactions") for attributes, _ in batches)
    assert all(bool(attributes & LOG_APPEND_TIME) == (feature == "log-append time") for attributes, _ in batches)
    if feature == "transactions":
        assert sum(bool(attributes & CONTROL) for attributes, _ in batches) == 4


def test_nothing_else_is_counted(run: Run) -> None:
    assert sorted(run.energy) == sorted(expected()), "aborted records are not stored"
    total = len(expected()) * READINGS
    assert sum(each.consumed for each in run.entries.values()) == total, "and not counted"
    assert sum(each.written for each in run.entries.values()) == total


def test_the_table_in_the_documents_is_this_one() -> None:
    section = (ROOT / "docs" / "formats.md").read_text().split("## Clients")[1].split("## ")[0]
    jar = next(each for each in kafka_jars(print) if each.name.startswith("kafka-clients-"))
    java, confluent = jar.stem.removeprefix("kafka-clients-"), version("confluent-kafka")
    head = ("sent with", f"Java's client {java}", f"librdkafka, confluent-kafka {confluent}")
    cells: list[tuple[str, ...]] = [(row, *[", ".join(formats_of(row))] * 2) for row in (*CODECS, *FEATURES)]
    documented: list[Any] = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    assert documented == [head, *cells]
