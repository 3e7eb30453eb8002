"""Batches: split as they were sent, and each item has exactly one outcome, in order."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingestion.batches import settle
from api.ingestion.parsing import JSON_ARRAY, METER, NDJSON, limits_now, media_type, read_all, split
from api.ingestion.partition_queue import ProducerBatch
from api.ingestion.request import Refusal
from api.problems import Unavailable
from schemas.responses.ingestion import BatchProblem, BatchResponse
from tests.support.records import meter

NOW = datetime.now(UTC)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)  # fmt: skip
BLANKS = st.sampled_from([b"", b" ", b"\t", b"\r"])


@given(st.lists(VALUES, min_size=1))
def test_an_array_is_split_into_its_elements(values: list[Any]) -> None:
    items = split(msgspec.json.encode(values), JSON_ARRAY, 1000)
    assert [msgspec.json.decode(each) for each in items] == msgspec.json.decode(msgspec.json.encode(values))


@given(st.lists(st.tuples(VALUES, BLANKS, st.lists(BLANKS, max_size=2)), min_size=1, max_size=20))
def test_lines_are_split_and_blank_ones_do_not_count(lines: list[tuple[Any, bytes, list[bytes]]]) -> None:
    body = b"".join(
        msgspec.json.encode(value) + after + b"\n" + b"".join(blank + b"\n" for blank in blanks)
        for value, after, blanks in lines
    )
    items = split(body, NDJSON, 100)
    assert [msgspec.json.encode(msgspec.json.decode(each)) for each in items] == [
        msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(value))) for value, _, _ in lines
    ]


@given(st.binary(max_size=200), st.sampled_from([JSON_ARRAY, NDJSON]))
def test_any_bytes_are_split_or_refused(body: bytes, form: str) -> None:
    status, items = 200, list[bytes]()
    try:
        items = split(body, form, 10)
    except Refusal as refusal:
        status = refusal.status
    assert status in {200, 400, 413}
    assert len(items) <= 10


def test_a_number_of_many_digits_is_an_item_like_any_other() -> None:
    digits = b"9" * 1_000_000
    for form, body in ((JSON_ARRAY, b"[" + digits + b"]"), (NDJSON, digits)):
        (item,) = split(body, form, 10)
        assert item == digits
    huge = b'{"meterId":"METER-1","kwhConsumedAc":' + digits + b',"voltage":1,"timestamp":"2026-01-01T00:00:00Z"}'
    (found,) = asyncio.run(read_all(METER, [huge], limits_now(400)))
    assert isinstance(found, Exception)


@pytest.mark.parametrize("given_type", [b"", b"text/plain", b"application/jsonx", b"multipart/form-data; boundary=x"])
def test_other_kinds_of_body_are_refused(given_type: bytes) -> None:
    with pytest.raises(Refusal, match=r"application/x-ndjson"):
        media_type(given_type, b"")


def test_parameters_and_capitals_of_a_media_type_make_no_difference() -> None:
    assert media_type(b"Application/JSON; charset=utf-8", b"identity") == JSON_ARRAY
    assert media_type(b"application/x-ndjson ;x=y", b"") == NDJSON


class Fates:
    """In place of the gateway: settles every parcel as it is told, two readings to a parcel."""

    def __init__(self, fates: list[str]) -> None:
        self._fates = fates
        self._parcels: dict[str, ProducerBatch] = {}

    def put(self, reading: Any) -> ProducerBatch:
        fate = self._fates[int(reading.meter_id.split("-")[1])]
        if fate == "away":
            raise Unavailable("Kafka is away")
        parcel = self._parcels.pop(fate, None)
        if parcel is None:
            self._parcels[fate] = parcel = ProducerBatch(None, 0.0)
            asyncio.get_running_loop().call_soon(parcel.settle, "not acknowledged" if fate == "lost" else None)
        return parcel


STATUS = {"kept": 201, "lost": 503, "away": 503, "invalid": 422, "foreign": 403}


@given(st.lists(st.sampled_from(sorted(STATUS)), min_size=1, max_size=30))
def test_each_item_has_one_outcome_in_order_and_send_again_names_those_to_send_again(fates: list[str]) -> None:
    values = [
        meter(f"{'FOREIGN' if fate == 'foreign' else 'METER'}-{index}", NOW, kwh=-1 if fate == "invalid" else 0.5)
        for index, fate in enumerate(fates)
    ]

    async def settled() -> Any:
        read = await read_all(METER, values, limits_now(400))
        return await settle(Fates(fates), METER, read, lambda device: device.startswith("METER"))  # type: ignore[arg-type]

    found = asyncio.run(settled())

    again = [index for index, fate in enumerate(fates) if STATUS[fate] == 503]
    kind = BatchProblem if again else BatchResponse
    answer: Any = kind.model_validate_json(found.content, extra="forbid")
    assert found.status == (503 if again else 200)
    assert [(each.index, each.status) for each in answer.items] == list(enumerate(STATUS[fate] for fate in fates))
    assert answer.send_again == again
    assert answer.ingested == fates.count("kept")
    assert answer.refused == fates.count("invalid") + fates.count("foreign")
    assert answer.ingested + answer.refused + len(answer.send_again) == len(fates)
