"""The decoder of each topic, by its format."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from consumer.records.decode import Decoder
from consumer.records.record_type import RecordType
from consumer.settings import ConsumerSettings


@asynccontextmanager
async def open_decoders(
    settings: ConsumerSettings, topics: Mapping[str, RecordType]
) -> AsyncIterator[dict[str, Decoder]]:
    """The decoders by topic; those that need the schema registry share one client, which is closed at the end."""
    formats = settings.formats_by_topic()
    decoders = {topic: Decoder(record_type, settings.record_max_bytes) for topic, record_type in topics.items()}
    framed = [topic for topic in topics if formats.get(topic, "json") != "json"]
    if not framed:
        yield decoders
        return
    from consumer.formats.decoder import FramedDecoder  # noqa: PLC0415 - the packages of the extra `formats`
    from consumer.formats.registry import SchemaRegistry  # noqa: PLC0415

    registry = SchemaRegistry(settings)
    try:
        yield decoders | {
            topic: FramedDecoder(topics[topic], settings.record_max_bytes, formats[topic], registry) for topic in framed
        }
    finally:
        await registry.close()
