"""Another replica with our KAFKA_GROUP_INSTANCE_ID: the newer one has the partitions, the older one must end.

The Kafka client does not do this: told that it is not known any more it joins again under the same name, which takes the
partitions from the newer one, which joins again ... So before it may join again the group is asked who has the name now.
"""

import asyncio
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from consumer.settings import ConsumerSettings

log = structlog.get_logger(__name__)

ANSWERS_WITHIN_SECONDS: Final = 5.0


class InstanceIdTakenError(Exception):
    """Two replicas have the same KAFKA_GROUP_INSTANCE_ID, and this is the older one."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(
            f"another replica runs with KAFKA_GROUP_INSTANCE_ID={instance_id} and has taken over; give each a name of its own"
        )


class StaticMembership:
    """Knows which member of the group we were; without an instance id there is nothing to know."""

    def __init__(self, settings: ConsumerSettings, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._consumer = consumer
        self.member_id = ""
        self.name = settings.kafka_group_instance_id or ""

    def joined(self) -> None:
        """We are a member of the group now."""
        self.member_id = str(self._consumer._coordinator.member_id)  # noqa: SLF001 - it is told nowhere else

    async def is_taken_over(self) -> bool:
        """Whether the member with our name is another one. When Kafka does not say, it is taken to be us."""
        if not self.name or not self.member_id:
            return False
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_SECONDS):
                members = await self._members()
        except (KafkaError, OSError) as error:
            log.warning("members_unknown", error=repr(error))
            return False
        # The broker makes the id of a member with a name from that name and a UUID.
        named = [each for each in members if each[: -len("-") - 36] == self.name]
        taken = bool(named) and self.member_id not in named
        if taken:
            log.error("instance_id_taken", instance_id=self.name, detail=str(InstanceIdTakenError(self.name)))
        return taken

    async def _members(self) -> list[str]:
        admin: Any = AIOKafkaAdminClient(**self._settings.client_options())
        try:
            await admin.start()
            answers = await admin.describe_consumer_groups([self._settings.kafka_group_id])
        finally:
            await admin.close()
        return [member[0] for answer in answers for group in answer.groups for member in group[5]]
