"""Batches are split into the items that were sent, and each item has exactly one outcome, in order."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingestion.batches import produce_all
from api.ingestion.parsing import JSON_ARRAY, METER, NDJSON, batch_media_type, parse_all, split_batch, time_limits
from api.ingestion.partition_queue import ProducerBatch
from api.ingestion.request import RejectedRequest
from api.problems import Unavailable
from schemas.responses.ingestion import BatchProblem, BatchResponse
from tests.support.records import meter

NOW = datetime.now(UTC)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)  # fmt: skip
BLANK = st.sampled_from([b"", b" ", b"\t", b"\r"])


@given(st.lists(VALUES, min_size=1))
def test_an_array_is_split_into_its_elements(values: list[Any]) -> None:
    items = split_batch(msgspec.json.encode(values), JSON_ARRAY, 1000)
    assert [msgspec.json.decode(each) for each in items] == msgspec.json.decode(msgspec.json.encode(values))


@given(st.lists(st.tuples(VALUES, BLANK, st.lists(BLANK, max_size=2)), min_size=1, max_size=20))
def test_lines_are_split_and_blank_lines_do_not_count(lines: list[tuple[Any, bytes, list[bytes]]]) -> None:
    body = b"".join(
        msgspec.json.encode(value) + after + b"\n" + b"".join(blank + b"\n" for blank in blanks)
        for value, after, blanks in lines
    )
    items = split_batch(body, NDJSON, 100)
    assert [msgspec.json.encode(msgspec.json.decode(each)) for each in items] == [
        msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(value))) for value, _, _ in lines
    ]


@given(st.binary(max_size=200), st.sampled_from([JSON_ARRAY, NDJSON]))
def test_any_bytes_are_split_or_rejected(body: bytes, media_type: str) -> None:
    status, items = 200, list[bytes]()
    try:
        items = split_batch(body, media_type, 10)
    except RejectedRequest as rejection:
        status = rejection.status
    assert status in {200, 400, 413}
    assert len(items) <= 10


def test_a_number_with_a_million_digits_is_an_item_like_any_other() -> None:
    digits = b"9" * 1_000_000
    for media_type, body in ((JSON_ARRAY, b"[" + digits + b"]"), (NDJSON, digits)):
        (item,) = split_batch(body, media_type, 10)
        assert item == digits
    huge = b'{"meterId":"METER-1","kwhConsumedAc":' + digits + b',"voltage":1,"timestamp":"2026-01-01T00:00:00Z"}'
    (parsed,) = asyncio.run(parse_all(METER, [huge], time_limits(400)))
    assert isinstance(parsed, Exception)


@pytest.mark.parametrize("given_type", [b"", b"text/plain", b"application/jsonx", b"multipart/form-data; boundary=x"])
def test_other_media_types_are_rejected(given_type: bytes) -> None:
    with pytest.raises(RejectedRequest, match=r"application/x-ndjson"):
        batch_media_type(given_type, b"")


def test_parameters_and_case_of_a_media_type_do_not_matter() -> None:
    assert batch_media_type(b"Application/JSON; charset=utf-8", b"identity") == JSON_ARRAY
    assert batch_media_type(b"application/x-ndjson ;x=y", b"") == NDJSON


class FakeProducer:
    """Completes every batch as the outcome of its readings says; readings with the same outcome share a batch of two."""

    def __init__(self, outcomes: list[str]) -> None:
        self._outcomes = outcomes
        self._open_batches: dict[str, ProducerBatch] = {}

    def send(self, reading: Any) -> ProducerBatch:
        outcome = self._outcomes[int(reading.meter_id.split("-")[1])]
        if outcome == "unavailable":
            raise Unavailable("Kafka is unavailable")
        batch = self._open_batches.pop(outcome, None)
        if batch is None:
            self._open_batches[outcome] = batch = ProducerBatch(None, 0.0)
            error = "not acknowledged" if outcome == "lost" else None
            asyncio.get_running_loop().call_soon(batch.complete, error)
        return batch


STATUS = {"acknowledged": 201, "lost": 503, "unavailable": 503, "invalid": 422, "forbidden": 403}


@given(st.lists(st.sampled_from(sorted(STATUS)), min_size=1, max_size=30))
def test_each_item_has_one_outcome_in_order_and_send_again_lists_those_with_503(outcomes: list[str]) -> None:
    values = [
        meter(
            f"{'FORBIDDEN' if outcome == 'forbidden' else 'METER'}-{index}",
            NOW,
            kwh=-1 if outcome == "invalid" else 0.5,
        )
        for index, outcome in enumerate(outcomes)
    ]

    async def produce() -> Any:
        readings = await parse_all(METER, values, time_limits(400))
        producer: Any = FakeProducer(outcomes)
        return await produce_all(producer, METER, readings, lambda device_id: device_id.startswith("METER"))

    response = asyncio.run(produce())

    again = [index for index, outcome in enumerate(outcomes) if STATUS[outcome] == 503]
    model = BatchProblem if again else BatchResponse
    answer: Any = model.model_validate_json(response.content, extra="forbid")
    assert response.status == (503 if again else 200)
    assert [(each.index, each.status) for each in answer.items] == list(enumerate(STATUS[each] for each in outcomes))
    assert answer.send_again == again
    assert answer.ingested == outcomes.count("acknowledged")
    assert answer.refused == outcomes.count("invalid") + outcomes.count("forbidden")
    assert answer.ingested + answer.refused + len(answer.send_again) == len(outcomes)
