"""Static membership: two consumers with the same KAFKA_GROUP_INSTANCE_ID, of which the older one must stop.

aiokafka does not stop it: told that its member id is unknown, the client joins the group again under the same instance id, which
takes the partitions from the newer consumer, which joins again, and so on. So the group is asked for the current member id
before the older client may join again.
"""

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from consumer.kafka.group_members import describe_group
from consumer.settings import ConsumerSettings

log = structlog.get_logger(__name__)

RESPONSE_TIMEOUT_SECONDS: Final = 5.0
UUID_LENGTH: Final = 36


class InstanceIdTakenError(Exception):
    """A newer consumer has the same KAFKA_GROUP_INSTANCE_ID."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(
            f"another consumer runs with KAFKA_GROUP_INSTANCE_ID={instance_id} and has taken over; "
            "give each consumer an instance id of its own"
        )


class StaticMembership:
    """The member id that this process got when it last joined the group."""

    def __init__(self, settings: ConsumerSettings, client: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._client = client
        self.member_id = ""
        self.instance_id = settings.kafka_group_instance_id or ""

    def record_join(self) -> None:
        """Remember the current member id; to be called after each join."""
        self.member_id = str(self._client._coordinator.member_id)  # noqa: SLF001 - aiokafka has no public way to it

    async def is_taken_over(self) -> bool:
        """Whether another member has our instance id now; False when there is no instance id, or Kafka does not respond."""
        if not self.instance_id or not self.member_id:
            return False
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                members = [each.member_id for each in (await describe_group(self._settings)).members]
        except (KafkaError, OSError) as error:
            log.warning("group_members_unavailable", error=repr(error))
            return False
        # The broker builds the member id of a static member from its instance id, a hyphen and a UUID.
        holders = [each for each in members if each[: -len("-") - UUID_LENGTH] == self.instance_id]
        taken = bool(holders) and self.member_id not in holders
        if taken:
            detail = str(InstanceIdTakenError(self.instance_id))
            log.error("instance_id_taken", instance_id=self.instance_id, detail=detail)
        return taken
