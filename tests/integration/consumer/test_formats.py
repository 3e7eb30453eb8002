"""Topics whose records name their schemas, with a registry that comes and goes, on the real servers."""

from collections.abc import Iterator

import pytest

from deploy.stack.servers import Servers
from schemas.records.readings import MeterReading, VehicleReading
from tests.support.command import consumer_command
from tests.support.database import Database
from tests.support.formats.encoding import framed, own_schema
from tests.support.formats.registry import RegistryServer, schema_registry
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import meter, minute, vehicle
from tests.support.services import ConsumerGroup, ConsumerProcess
from tests.support.topics import produce
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with schema_registry(("reader", "s3cret")) as server:
        server.schemas = {
            1: own_schema("avro", MeterReading),
            2: own_schema("protobuf", MeterReading),
            3: own_schema("json-schema", VehicleReading),
        }
        yield server


@pytest.fixture
def formats(group: ConsumerGroup, registry: RegistryServer) -> ConsumerGroup:
    """The consumers' group with the settings of the registry."""
    group.environment |= {
        "KAFKA_METER_FORMAT": "auto",
        "KAFKA_VEHICLE_FORMAT": "json-schema",
        "SCHEMA_REGISTRY_URL": registry.url,
        "SCHEMA_REGISTRY_USERNAME": "reader",
        "SCHEMA_REGISTRY_PASSWORD": "s3cret",
    }
    return group


async def waits_for_registry(consumer: ConsumerProcess) -> str:
    async def reported() -> str | None:
        return (await consumer.blocked_by()).get("schema_registry")

    return await until(reported, "the consumer reports that it waits for the schema registry") or ""


async def test_records_wait_for_a_registry_that_is_away_and_known_schemas_go_on(
    stack: Servers, database: Database, topics: Topics, registry: RegistryServer, formats: ConsumerGroup
) -> None:
    avro, protobuf = framed("avro", MeterReading, 1), framed("protobuf", MeterReading, 2)
    consumer = formats.start()

    async def send(partition: int, *values: bytes) -> None:
        await produce(stack.kafka_bootstrap_servers, topics.meter, values, partition=partition)

    await send(0, meter(at=minute(0)), avro(meter(at=minute(1))))
    await send(1, avro(meter("METER-002", minute(0))))
    json_schema = framed("json-schema", VehicleReading, 3)
    await produce(stack.kafka_bootstrap_servers, topics.vehicle, [json_schema(vehicle())])
    await until_consumed(database, topics.vehicle, 1)
    await until_consumed(database, topics.meter, 3)

    registry.stop()
    await send(0, avro(meter(at=minute(2))), protobuf(meter(at=minute(3))), avro(meter(at=minute(4))))
    await send(1, avro(meter("METER-002", minute(1))))
    await until_consumed(database, topics.meter, 5)
    assert f"{topics.meter}-0: {registry.url} does not answer" in await waits_for_registry(consumer)
    assert await consumer.metric("energy_ingest_paused", reason="schema_registry") == 1
    await send(1, avro(meter("METER-002", minute(2))))
    await until_consumed(database, topics.meter, 6)
    assert (await ledger(database, topics))[topics.meter] == Entry(6, 6, 0, 0), "what waits is no dead letter"

    registry.start()
    await until_consumed(database, topics.meter, 8)
    await consumer.until_ready()
    assert await consumer.metric("energy_ingest_paused", reason="schema_registry") == 0
    assert await ledger(database, topics) == {topics.meter: Entry(8, 8, 0, 0), topics.vehicle: Entry(1, 1, 0, 0)}
    assert sum(question == "/schemas/ids/1" for question in registry.questions) == 1, "a schema is fetched once"
    assert formats.stop(consumer) == 0


async def test_an_unknown_schema_is_a_dead_letter_with_its_id_and_can_be_replayed_once_it_is_registered(
    stack: Servers,
    database: Database,
    topics: Topics,
    registry: RegistryServer,
    formats: ConsumerGroup,
) -> None:
    consumer = formats.start()
    value = framed("avro", MeterReading, 77)(meter(at=minute(0)))
    await produce(stack.kafka_bootstrap_servers, topics.meter, [value, meter(at=minute(1))], partition=0)
    await until_consumed(database, topics.meter, 2)
    letter = (await database.fetch("SELECT value, reason, detail FROM dead_letters"))[0]
    assert (letter["value"], letter["reason"]) == (value, "unknown_schema")
    assert letter["detail"] == "the schema registry has no schema 77: Schema not found"
    assert await consumer.metric("energy_dead_letters_total", reason="unknown_schema") == 1
    assert formats.stop(consumer) == 0

    command = consumer_command(formats.environment, database)
    registry.stop()
    assert "the schema registry is needed: " in await command.fail("dead-letters", "replay", "--yes")
    registry.start()
    registry.schemas[77] = registry.schemas[1]
    await command.succeed("dead-letters", "replay", "--yes")
    assert (await ledger(database, topics))[topics.meter] == Entry(2, 2, 0, 0)


async def test_what_is_wrong_with_the_newest_schema_of_a_topic_is_said_before_its_first_record(
    topics: Topics, registry: RegistryServer, formats: ConsumerGroup
) -> None:
    registry.schemas[9] = own_schema("avro", VehicleReading)
    registry.subjects[f"{topics.meter}-value"] = [1, 9]
    consumer = formats.start()
    logged = await consumer.until_logged("schema_incompatible")
    assert logged["detail"] == "schema 9 cannot be read as meter: it lacks meterId, kwhConsumedAc, voltage"
    assert formats.stop(consumer) == 0
