"""A batch of readings -> what became of each -> one answer."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api.ingestion.parsing import Kind
from api.ingestion.partition_queue import ProducerBatch
from api.ingestion.producer import ReadingProducer
from api.problems import Unavailable, field_problems, problem_body
from schemas.records.readings import InvalidReading, Reading

INGESTED: Final = 201
FORBIDDEN: Final = 403
INVALID: Final = 422
AGAIN: Final = 503


@dataclass(frozen=True, slots=True)
class Settled:
    """One answer to a batch."""

    status: int
    content: bytes
    counts: dict[int, int]


async def settle(
    gateway: ReadingProducer, kind: Kind, items: Sequence[Reading | InvalidReading], allowed: Callable[[str], bool]
) -> Settled:
    """Hand all valid readings of allowed devices over, wait for Kafka, and say what became of each."""
    parcels: list[ProducerBatch | str | None] = [
        _put(gateway, item) if not isinstance(item, InvalidReading) and allowed(kind.device(item)) else None
        for item in items
    ]
    for parcel in {each for each in parcels if isinstance(each, ProducerBatch)}:
        await parcel.settled.wait()
    pairs = zip(items, parcels, strict=True)
    return _answer([_outcome(kind, index, item, parcel) for index, (item, parcel) in enumerate(pairs)])


def _put(gateway: ReadingProducer, reading: Reading) -> ProducerBatch | str:
    try:
        return gateway.put(reading)
    except Unavailable as away:
        return str(away)


def _outcome(
    kind: Kind, index: int, item: Reading | InvalidReading, parcel: ProducerBatch | str | None
) -> dict[str, Any]:
    if isinstance(item, InvalidReading):
        errors = [each.model_dump() for each in field_problems(item)]
        return {"index": index, "status": INVALID, "message": str(item), "errors": errors}
    if parcel is None:
        refused = f"this API key may not send readings of {kind.device(item)}"
        return {"index": index, "status": FORBIDDEN, "message": refused}
    error = parcel.error if isinstance(parcel, ProducerBatch) else parcel
    if error is not None:
        return {"index": index, "status": AGAIN, "message": error}
    return {"index": index, "status": INGESTED, "message": kind.welcome(item)}


def _answer(outcomes: list[dict[str, Any]]) -> Settled:
    counts = Counter(each["status"] for each in outcomes)
    again = [each["index"] for each in outcomes if each["status"] == AGAIN]
    body = {
        "ingested": counts[INGESTED],
        "refused": counts[INVALID] + counts[FORBIDDEN],
        "sendAgain": again,
        "items": outcomes,
    }
    if not again:
        return Settled(200, msgspec.json.encode(body), counts)
    detail = f"{len(again)} of {len(outcomes)} readings were not acknowledged: those in sendAgain; send them again"
    return Settled(AGAIN, problem_body(AGAIN, detail, extensions=body), counts)
