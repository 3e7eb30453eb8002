"""A region: a Kafka, a database, and a consumer that reads its own topics and those that are mirrored from the other region."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from deploy.stack.kafka import Kafka
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from schemas.config.settings import topic_names
from tests.faults.oracle.log import read_log
from tests.faults.regions.devices import Reading
from tests.support.database import Database
from tests.support.ledger import Topics, ledger
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment
from tests.support.waiting import until

PARTITIONS: Final = 4
STORED: Final = """
SELECT meter_id AS device, recorded_at FROM meter_readings
UNION ALL SELECT vehicle_id, recorded_at FROM vehicle_readings"""


@dataclass(slots=True)
class Region:
    """`topics` are its own and the mirrored ones; `own` are those that its devices send to."""

    name: str
    kafka: Kafka
    database: Database
    topics: Topics
    own: tuple[str, str]
    group: ConsumerGroup
    consumer: ConsumerProcess | None = None

    def start_consumer(self) -> None:
        self.consumer = self.group.start()

    def lose(self) -> None:
        """SIGKILL of the broker and of the consumer."""
        assert self.consumer
        self.kafka.kill()
        self.group.kill(self.consumer)
        self.consumer = None

    async def logged(self) -> set[Reading]:
        """The identity of each reading in its Kafka: those of its devices, and those that are mirrored."""
        log = await read_log(
            self.kafka.bootstrap_servers, [*topic_names(self.topics.meter), *topic_names(self.topics.vehicle)]
        )
        values = [msgspec.json.decode(record.value) for record in log if record.value]
        return {
            (value.get("meterId") or value["vehicleId"], datetime.fromisoformat(value["timestamp"])) for value in values
        }

    async def stored(self) -> set[Reading]:
        """The identity of each reading that is stored. Fails if one is stored twice."""
        rows = [(row["device"], row["recorded_at"]) for row in await self.database.fetch(STORED)]
        assert len(rows) == len(set(rows)), f"{self.name}: {len(rows) - len(set(rows))} readings are stored twice"
        return set(rows)

    async def until_stored(self, readings: Iterable[Reading], what: str) -> None:
        """Waits until all these readings are stored."""
        wanted = set(readings)
        missing = wanted

        async def are_stored() -> bool:
            nonlocal missing
            missing = wanted - await self.stored()
            return not missing

        await until(
            are_stored,
            lambda: f"{self.name} stores {what}: {len(missing)} of {len(wanted)} are missing",
            timeout=120,
            every=0.5,
        )

    async def verify(self, readings: set[Reading]) -> int:
        """Nothing is lost, invented or doubled, and the ledger adds up; returns the number of duplicates that were counted."""
        assert await self.stored() == readings, f"{self.name}: other readings are stored than were acknowledged"
        counts = (await ledger(self.database, self.topics)).values()
        assert sum(each.written for each in counts) == len(readings)
        assert sum(each.dead_lettered for each in counts) == 0
        return sum(each.duplicates for each in counts)


async def create_region(
    name: str, other: str, stack: Servers, kafka: Kafka, database: Database, processes: Processes, directory: Path
) -> Region:
    """A region with empty topics, and no consumer yet."""
    names = Topics("region-meters", "region-vehicles", PARTITIONS, "region-assignments", alert="region-alerts")
    own = names.meter, names.vehicle
    await create_topics(kafka.bootstrap_servers, [*own, names.assignment, names.alert], partitions=PARTITIONS)
    topics = replace(
        names, meter=f"{names.meter},{other}.{names.meter}", vehicle=f"{names.vehicle},{other}.{names.vehicle}"
    )
    environment = service_environment(replace(stack, kafka_bootstrap_servers=kafka.bootstrap_servers), database, topics)
    environment |= {
        "KAFKA_SESSION_TIMEOUT_MS": "3000",
        "KAFKA_GROUP_ID": f"group-{name}",
        "KAFKA_ALERT_TOPIC": names.alert,
    }
    return Region(name, kafka, database, topics, own, ConsumerGroup(processes, environment, directory))
