"""A batch of readings -> the outcome of each item -> one response."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api.ingestion.parsing import ReadingType
from api.ingestion.partition_queue import ProducerBatch
from api.ingestion.producer import ReadingProducer
from api.problems import Unavailable, field_problems, problem_body
from schemas.records.readings import InvalidReading, Reading

INGESTED: Final = 201
FORBIDDEN: Final = 403
INVALID: Final = 422
SEND_AGAIN: Final = 503


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The outcome of a batch: status and body of the response, and the number of readings by their status."""

    status: int
    content: bytes
    counts: dict[int, int]


async def produce_all(
    producer: ReadingProducer,
    reading_type: ReadingType,
    items: Sequence[Reading | InvalidReading],
    may_ingest: Callable[[str], bool],
) -> BatchOutcome:
    """Sends the valid readings of permitted devices to Kafka and waits until each is acknowledged or has failed."""
    sent: list[ProducerBatch | str | None] = [
        _send(producer, item)
        if not isinstance(item, InvalidReading) and may_ingest(reading_type.device_id(item))
        else None
        for item in items
    ]
    for batch in {each for each in sent if isinstance(each, ProducerBatch)}:
        await batch.completed.wait()
    pairs = zip(items, sent, strict=True)
    return _batch_outcome([_outcome(reading_type, index, item, batch) for index, (item, batch) in enumerate(pairs)])


def _send(producer: ReadingProducer, reading: Reading) -> ProducerBatch | str:
    """The batch that carries the reading, or why it could not be sent."""
    try:
        return producer.send(reading)
    except Unavailable as error:
        return str(error)


def _outcome(
    reading_type: ReadingType, index: int, item: Reading | InvalidReading, sent: ProducerBatch | str | None
) -> dict[str, Any]:
    if isinstance(item, InvalidReading):
        errors = [each.model_dump() for each in field_problems(item)]
        return {"index": index, "status": INVALID, "message": str(item), "errors": errors}
    if sent is None:
        message = f"this API key may not send readings of {reading_type.device_id(item)}"
        return {"index": index, "status": FORBIDDEN, "message": message}
    error = sent.error if isinstance(sent, ProducerBatch) else sent
    if error is not None:
        return {"index": index, "status": SEND_AGAIN, "message": error}
    return {"index": index, "status": INGESTED, "message": reading_type.acknowledgement(item)}


def _batch_outcome(outcomes: list[dict[str, Any]]) -> BatchOutcome:
    counts = Counter(each["status"] for each in outcomes)
    send_again = [each["index"] for each in outcomes if each["status"] == SEND_AGAIN]
    body = {
        "ingested": counts[INGESTED],
        "refused": counts[INVALID] + counts[FORBIDDEN],
        "sendAgain": send_again,
        "items": outcomes,
    }
    if not send_again:
        return BatchOutcome(200, msgspec.json.encode(body), counts)
    detail = f"{len(send_again)} of {len(outcomes)} readings were not acknowledged; send those in sendAgain again"
    return BatchOutcome(SEND_AGAIN, problem_body(SEND_AGAIN, detail, extensions=body), counts)
