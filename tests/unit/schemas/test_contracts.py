"""The contract documents match the code, and are compatible with those of earlier releases."""

import copy
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from api.openapi.examples import EXAMPLES
from schemas.config.version import VERSION
from schemas.records.alerts import Alert
from schemas.records.assignments import decode_assignment
from schemas.records.readings import decode_meter, decode_register, decode_vehicle, valid_id
from schemas.responses import access, base, devices, fleet, health, history, ingestion, performance
from tests.contracts import asyncapi
from tests.contracts.__main__ import RELEASED, documents, text
from tests.contracts.breaking_changes import Comparison
from tests.contracts.record_schemas import record_schemas
from tests.support.repository import ROOT

DOCUMENTS = documents()
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "MeterReading": decode_meter,
    "RegisterReading": decode_register,
    "VehicleReading": decode_vehicle,
    "Assignment": decode_assignment,
}
IDS = ["meterId", "vehicleId"]
formats = jsonschema.FormatChecker(formats=())


@formats.checks("date-time", raises=ValueError)
def _is_a_valid_date(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(f"{value[:10]}T00:00:00"))


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Any:
    """As in ECMA 262 and JSON Schema: $ matches only at the end, not before a trailing line feed."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern}")


Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _pattern}
)


def _validator(message: str) -> Any:
    payload = DOCUMENTS["asyncapi.json"]["components"]["messages"][message]["payload"]
    return Validator(payload, format_checker=formats)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_committed_document_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == text(DOCUMENTS[name]), "run: make contracts"


def test_all_versions_agree() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert {document["info"]["version"] for document in DOCUMENTS.values()} == {VERSION}


MODULES = (access, base, devices, fleet, health, history, ingestion, performance)
MODELS = {name: kind for module in MODULES for name, kind in vars(module).items()}


def test_every_operation_has_a_valid_example_response() -> None:
    described = DOCUMENTS["openapi.json"]
    for path in described["paths"].values():
        for operation in path.values():
            for code, response in operation["responses"].items():
                content = response.get("content", {}).get("application/json", {})
                if code.startswith("2") and content:
                    assert "example" in content or "examples" in content, operation["operationId"]
            if operation["operationId"] in EXAMPLES:
                _check_response(operation["responses"], EXAMPLES[operation["operationId"]])


def _check_response(responses: dict[str, Any], example: Any) -> None:
    (schema,) = [each["content"]["application/json"]["schema"] for code, each in responses.items() if code[0] == "2"]
    names = [each["$ref"].rsplit("/", 1)[1] for each in schema.get("anyOf", [schema])]
    model: Any = MODELS[names[0]]
    for name in names[1:]:
        model |= MODELS[name]
    adapter = TypeAdapter[Any](model)
    adapter.validate_python(example)
    assert set(example) <= {
        to for name in names for to in DOCUMENTS["openapi.json"]["components"]["schemas"][name]["properties"]
    }


def test_every_operation_documents_its_errors() -> None:
    for path in DOCUMENTS["openapi.json"]["paths"].values():
        for operation in path.values():
            if operation["operationId"] in {"live", "access"}:  # they depend on nothing else
                continue
            assert {"500", "503"} <= set(operation["responses"]), operation["operationId"]
            if operation["operationId"] in {"ingestMeters", "ingestVehicles"}:
                assert {"400", "413", "415"} <= set(operation["responses"])  # 422 is reported per item
            elif operation.get("parameters") or operation.get("requestBody"):
                assert "422" in operation["responses"], operation["operationId"]


@pytest.mark.parametrize("name", asyncapi.TOPICS)
def test_the_example_of_a_topic_is_a_valid_record(name: str) -> None:
    *_, kind, key, example = asyncapi.TOPICS[name]
    assert list(_validator(kind.__name__).iter_errors(example)) == []
    assert valid_id(example[key])
    if kind is Alert:
        assert msgspec.to_builtins(msgspec.convert(example, Alert)) == example
    else:
        DECODERS[kind.__name__](msgspec.json.encode(example))


def test_every_reference_in_the_topic_document_resolves() -> None:
    document = DOCUMENTS["asyncapi.json"]
    references = re.findall(r'"\$ref": "#/([^"]+)"', text(document))
    assert references
    for reference in references:
        found: Any = document
        for part in reference.split("/"):
            found = found[part]


NUMBERS = st.sampled_from([0, -1, 1, 1000, 1001, 1e9, 1.1e9, -60, -61, 150, 151, 100, 100.5]) | st.floats(
    allow_nan=False, allow_infinity=False
)
DIGITS = st.integers(0, 99).map("{:02}".format)
INSTANTS = st.builds(
    "{}-{}-{}{}{}:{}:{}{}{}".format,
    st.sampled_from(["2026", "2024", "1900", "0000", "0001", "9999", "226", "02026"]),
    st.integers(0, 13).map("{:02}".format) | DIGITS,
    st.integers(0, 32).map("{:02}".format) | DIGITS,
    st.sampled_from(["T", "t", " ", "_", "  ", ""]),
    st.integers(0, 25).map("{:02}".format), DIGITS, DIGITS,
    st.sampled_from(["", ".5", ".123456789123", ".", ",5", ".x"]),
    st.sampled_from(["Z", "z", "+00:00", "-23:59", "+0130", "+24:00", "+01", "", " Z", "Z\n", "+23:60"]),
)  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=66) | st.sampled_from(["METER-1", "x" * 65, "a\n"])
ANYTHING = st.none() | st.booleans() | NUMBERS | TEXTS | INSTANTS | st.lists(NUMBERS, max_size=1)
FIELDS = {
    **dict.fromkeys(IDS, TEXTS),
    **dict.fromkeys(["timestamp", "validFrom", "validTo"], INSTANTS),
    **dict.fromkeys(["kwhConsumedAc", "kwhDeliveredDc", "voltage", "soc", "batteryTemp"], NUMBERS),
}


@st.composite
def near(draw: st.DrawFn, example: dict[str, Any]) -> dict[str, Any]:
    """An example with one or two fields changed, omitted or added."""
    made = dict(example)
    for name in draw(st.lists(st.sampled_from([*example, "other"]), min_size=1, max_size=2)):
        made[name] = draw(FIELDS.get(name, ANYTHING) | ANYTHING)
        if draw(st.integers(0, 9)) == 0:
            del made[name]
    return made


@pytest.mark.parametrize("name", [name for name, topic in asyncapi.TOPICS.items() if topic[2] == "receive"])
def test_schema_and_decoder_accept_the_same_values(name: str) -> None:
    *_, kind, _, example = asyncapi.TOPICS[name]
    validator, decode = _validator(kind.__name__), DECODERS[kind.__name__]

    @settings(max_examples=1500, deadline=None)
    @given(near(example))
    def both_ways(value: dict[str, Any]) -> None:
        fits = validator.is_valid(value)
        assert accepted(decode, value) == fits, [error.message for error in validator.iter_errors(value)]

    both_ways()


def accepted(decode: Callable[[bytes], Any], value: dict[str, Any]) -> bool:
    """Whether the decoder accepts it. Time limits and the order of an assignment's ends are ignored: no schema expresses them."""
    try:
        decoded = decode(msgspec.json.encode(value))
    except ValueError as error:
        if str(error) != "not an assignment":
            return False
        return all(valid_id(value[each]) for each in IDS)
    return all(valid_id(getattr(decoded, each)) for each in ("meter_id", "vehicle_id") if hasattr(decoded, each))


# API keys were added after these documents were recorded and before anything was released; API_OPEN=true restores open access.
KNOWN = {"0.1.0": re.compile(r"^(GET|POST) /v1/\S+: no longer open to everybody$")}
NOTHING = re.compile(r"(?!)")


def test_the_schemas_for_a_registry_are_those_of_the_code_and_are_named_in_the_document() -> None:
    folder = ROOT / "docs" / "schemas"
    assert {path.name: path.read_text() for path in folder.iterdir()} == record_schemas(), "run make contracts"
    messages = DOCUMENTS["asyncapi.json"]["components"]["messages"].values()
    named = [path for each in messages for path in each.get("x-registry-schemas", {}).values()]
    assert sorted(named) == sorted(f"schemas/{name}" for name in record_schemas())


def test_a_released_version_of_this_major_version_exists() -> None:
    versions = {path.name for path in RELEASED.iterdir() if {file.name for file in path.iterdir()} >= set(DOCUMENTS)}
    assert [each for each in versions if each.split(".")[0] == VERSION.split(".")[0]], "none of this major version"


def test_a_released_version_is_never_overwritten() -> None:
    before = {path: path.read_bytes() for path in RELEASED.rglob("*.json")}
    command = [sys.executable, "-m", "tests.contracts", "release"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{VERSION} is released already" in done.stderr
    assert {path: path.read_bytes() for path in RELEASED.rglob("*.json")} == before


@pytest.mark.parametrize("released", sorted(RELEASED.iterdir()), ids=lambda path: path.name)
def test_the_documents_are_compatible_with_earlier_releases(released: Any) -> None:
    if released.name.split(".")[0] != VERSION.split(".")[0]:
        return  # a new major version may break compatibility; docs/contracts.md
    earlier = {name: json.loads((released / name).read_text()) for name in DOCUMENTS}
    found = Comparison(earlier["openapi.json"], DOCUMENTS["openapi.json"]).api()
    assert [each for each in found if not KNOWN.get(released.name, NOTHING).search(each)] == []
    assert list(Comparison(earlier["asyncapi.json"], DOCUMENTS["asyncapi.json"]).topics()) == []


@pytest.mark.parametrize("released", sorted(RELEASED.glob("*/schemas/*.avsc")), ids=lambda path: path.name)
def test_what_was_written_with_an_earlier_schema_can_be_read_with_the_current_one_and_the_other_way_round(
    released: Any,
) -> None:
    if released.parent.parent.name.split(".")[0] != VERSION.split(".")[0]:
        return
    current = record_schemas()
    earlier, newer = (json.loads(each)["fields"] for each in (released.read_text(), current[released.name]))
    assert [(each["name"], each["type"]) for each in newer[: len(earlier)]] == [
        (each["name"], each["type"]) for each in earlier
    ]
    assert all("default" in each for each in newer[len(earlier) :])
    proto = released.with_suffix(".proto")
    declared = re.compile(r"^ +((?:optional )?[\w.]+ \w+ = \d+);", re.MULTILINE)
    assert declared.findall(current[proto.name])[: len(earlier)] == declared.findall(proto.read_text())


def _change(path: str, value: Any, document: dict[str, Any]) -> None:
    """Set the value at a path of the document, or delete it."""
    *parents, last = path.split(">")
    parent: Any = document
    for part in parents:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part]
    if value is None:
        del parent[last]
    else:
        parent[last] = value


VEHICLES = "paths>/v1/vehicles>get"
SCHEMA = "components>schemas>VehicleStatus"
METER_BODY = "paths>/v1/ingestion/meter>post>requestBody>content>application/json>schema"
METER_PAYLOAD = "components>messages>MeterReading>payload"
ALERT_PAYLOAD = "components>messages>Alert>payload"


@pytest.mark.parametrize(
    ("path", "value", "finding"),
    [
        (VEHICLES, None, "GET /v1/vehicles: removed"),
        (f"{VEHICLES}>parameters", [], "limit: removed"),
        (f"{VEHICLES}>parameters>1>required", True, "limit: now required"),
        (f"{VEHICLES}>parameters>1>schema>maximum", 10, "maximum 1000 became 10"),
        (f"{VEHICLES}>parameters>1>schema>minimum", 2, "minimum 1 became 2"),
        (f"{VEHICLES}>parameters>1>schema>type", "string", "['integer'] became ['string']"),
        (f"{VEHICLES}>parameters>0>schema>pattern", "^x$", "pattern"),
        (f"{VEHICLES}>parameters>1>schema>default", 7, "limit: the default 100 became 7"),
        (f"{VEHICLES}>security", [{"bearer": ["admin"]}, {"apiKey": ["read"]}], "no longer open to bearer with read"),
        (f"{VEHICLES}>security", [{"bearer": ["read"]}], "no longer open to apiKey with read"),
        (f"{VEHICLES}>security", [{"bearer": ["read"], "apiKey": ["read"]}], "no longer open to bearer with read"),
        ("paths>/healthz>get>security", [{"bearer": ["read"]}], "GET /healthz: no longer open to everybody"),
        (f"{VEHICLES}>responses>200>headers>Data-Source", None, "200: no longer gives the header Data-Source"),
        (f"{VEHICLES}>responses>200>headers>Data-Source>schema>type", "integer", "200 Data-Source: ['string'] became"),
        (f"{METER_BODY}>additionalProperties", False, "fields that are not named are no longer taken"),
        (f"{VEHICLES}>responses>200", None, "no longer answers 200"),
        (f"{SCHEMA}>properties>soc", None, "soc: removed"),
        (f"{SCHEMA}>properties>soc>type", "string", "became ['string']"),
        (f"{SCHEMA}>required", ["vehicleId"], "no longer always given"),
        ("paths>/v1/faults>get>parameters>0>schema>enum", ["open"], "the choice all, closed, open became open"),
        ("components>schemas>Fault>properties>state>enum", ["open", "closed", "old"], "the choice"),
        ("paths>/v1/ingestion/meter>post>requestBody>content>application/json", None, "no longer takes"),
        (
            "paths>/v1/ingestion/meter>post>requestBody>content>application/json>schema>properties>voltage>maximum",
            500, "maximum 1000.0 became 500",
        ),
    ],
)  # fmt: skip
def test_the_comparison_finds_changes_that_break_callers(path: str, value: Any, finding: str) -> None:
    earlier = DOCUMENTS["openapi.json"]
    newer = copy.deepcopy(earlier)
    _change(path, value, newer)
    assert any(finding in found for found in Comparison(earlier, newer).api())


@pytest.mark.parametrize(
    ("path", "value", "finding"),
    [
        ("operations>receiveMeterReading", None, "removed"),
        ("channels>meterReadings>address", "other", "the topic meter-readings became other"),
        ("operations>receiveMeterReading>action", "send", "the action receive became send"),
        (
            "components>messages>MeterReading>contentType",
            "application/avro",
            "application/json became application/avro",
        ),
        (f"{METER_PAYLOAD}>additionalProperties", False, "fields that are not named are no longer taken"),
        (f"{METER_PAYLOAD}>properties>voltage", None, "voltage: removed"),
        (f"{METER_PAYLOAD}>properties>voltage>maximum", 999, "maximum 1000 became 999"),
        (f"{METER_PAYLOAD}>properties>voltage>type", "integer", "['integer', 'number'] became ['integer']"),
        (f"{METER_PAYLOAD}>properties>meterId>pattern", "^M", "pattern"),
        (f"{METER_PAYLOAD}>required", ["meterId", "timestamp", "kwhConsumedAc", "voltage", "serial"], "serial: now"),
        (f"{ALERT_PAYLOAD}>properties>faultId", None, "faultId: removed"),
        (f"{ALERT_PAYLOAD}>required", ["eventId"], "no longer always given"),
    ],
)
def test_the_comparison_finds_changes_that_break_devices_or_alert_consumers(
    path: str, value: Any, finding: str
) -> None:
    earlier = DOCUMENTS["asyncapi.json"]
    newer = copy.deepcopy(earlier)
    _change(path, value, newer)
    assert any(finding in found for found in Comparison(earlier, newer).topics())


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("openapi.json", f"{SCHEMA}>properties>firmware", {"type": "string"}),
        ("openapi.json", f"{VEHICLES}>parameters>1>schema>maximum", 2000),
        ("openapi.json", f"{VEHICLES}>security", [{"bearer": []}, {"apiKey": ["read"]}, {"cookie": []}]),
        ("openapi.json", f"{VEHICLES}>responses>200>headers>Data-Age", {"schema": {"type": "string"}}),
        ("openapi.json", f"{SCHEMA}>additionalProperties", False),
        ("asyncapi.json", f"{ALERT_PAYLOAD}>additionalProperties", False),
        ("openapi.json", "paths>/v1/new", {"get": {"responses": {"200": {}}}}),
        ("asyncapi.json", f"{METER_PAYLOAD}>properties>serial", {"type": "string"}),
        ("asyncapi.json", f"{METER_PAYLOAD}>properties>voltage>maximum", 2000),
        ("asyncapi.json", f"{ALERT_PAYLOAD}>properties>note", {"type": "string"}),
    ],
)
def test_additions_are_compatible(name: str, path: str, value: Any) -> None:
    earlier = DOCUMENTS[name]
    newer = copy.deepcopy(earlier)
    _change(path, value, newer)
    compared = Comparison(earlier, newer)
    assert list(compared.api() if name == "openapi.json" else compared.topics()) == []
