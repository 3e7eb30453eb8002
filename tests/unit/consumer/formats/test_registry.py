"""The registry's client over HTTP: what it asks, what it tells apart, and how it authenticates."""

import asyncio
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from consumer.formats.errors import RegistryUnavailableError, SchemaNotFoundError
from consumer.formats.registry import RegisteredSchema, SchemaRegistry
from consumer.settings import ConsumerSettings
from tests.support.formats.encoding import key_of
from tests.support.formats.registry import RegistryServer, schema_registry

AVRO = RegisteredSchema("AVRO", '"string"')
GUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def ask(server: RegistryServer, key: bytes, **settings: Any) -> RegisteredSchema:
    async def answer() -> RegisteredSchema:
        url = settings.pop("schema_registry_url", server.url)
        client = SchemaRegistry(ConsumerSettings(schema_registry_url=url, **settings))
        try:
            return await client.schema(key)
        finally:
            await client.close()

    return asyncio.run(answer())


def test_a_schema_is_asked_for_by_its_id_or_guid() -> None:
    with schema_registry() as server:
        server.schemas = {1: AVRO, 2: RegisteredSchema("PROTOBUF", "message A {}"), GUID: AVRO}
        assert ask(server, key_of(1)) == AVRO
        assert ask(server, key_of(2)) == server.schemas[2]
        assert ask(server, b"\1" + bytes(range(16))) == AVRO
    assert server.questions == ["/schemas/ids/1", "/schemas/ids/2", f"/schemas/guids/{GUID}"]


def test_references_come_before_what_refers_to_them_and_once() -> None:
    with schema_registry() as server:
        server.schemas = {number: RegisteredSchema("AVRO", str(number)) for number in range(1, 4)}
        server.subjects = {"a/b": [2], "c": [1, 3]}
        inner, outer = {"name": "c", "subject": "c", "version": 2}, {"name": "b", "subject": "a%2Fb", "version": 1}
        server.subjects["a%2Fb"] = server.subjects.pop("a/b")
        server.extra = {
            1: {"references": [outer | {"subject": "a/b"}, inner]},
            2: {"references": [inner]},
            3: {"references": [inner]},  # itself, which no registry accepts
        }
        assert ask(server, key_of(1)).references == ("3", "2")


def test_a_registry_that_answers_is_told_from_one_that_does_not() -> None:
    with schema_registry() as server:
        with pytest.raises(SchemaNotFoundError, match="Schema not found"):
            ask(server, key_of(9))
        server.broken = HTTPStatus.NOT_FOUND  # with a code that no registry gives: a proxy's
        with pytest.raises(
            RegistryUnavailableError, match="answers 404 without a registry's error code: see SCHEMA_REG"
        ):
            ask(server, key_of(9))
        server.broken = HTTPStatus.SERVICE_UNAVAILABLE
        with pytest.raises(RegistryUnavailableError, match="answers 503: Error in the backend data store"):
            ask(server, key_of(9))
    with pytest.raises(RegistryUnavailableError, match="does not answer: All connection attempts failed"):
        ask(server, key_of(9))


def test_the_next_url_is_asked_when_one_does_not_answer() -> None:
    with schema_registry() as server:
        server.schemas = {1: AVRO}
        away = RegistryServer()
        assert ask(server, key_of(1), schema_registry_url=f"{away.url}, {server.url}/") == AVRO


def test_the_client_authenticates_and_trusts_the_authority_of_the_settings(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    with schema_registry(("reader", "s3cret"), tls) as server:
        server.schemas = {1: AVRO}
        trusted: dict[str, Any] = {"schema_registry_ssl_cafile": tmp_path / "ca.pem"}
        named = {"schema_registry_username": "reader", "schema_registry_password": "s3cret"}
        assert ask(server, key_of(1), **trusted, **named) == AVRO
        with pytest.raises(RegistryUnavailableError, match="answers 401: see SCHEMA_REGISTRY_USERNAME"):
            ask(server, key_of(1), **trusted)
        with pytest.raises(RegistryUnavailableError, match="certificate verify failed"):
            ask(server, key_of(1), **named)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"kafka_meter_format": "avro"}, "KAFKA_METER_FORMAT=avro needs SCHEMA_REGISTRY_URL"),
        ({"schema_registry_url": "localhost:8081"}, "String should match pattern"),
        ({"schema_registry_username": "reader"}, "SCHEMA_REGISTRY_USERNAME needs SCHEMA_REGISTRY_PASSWORD"),
        (
            {"schema_registry_url": "https://localhost", "schema_registry_ssl_cafile": "/nowhere"},
            "the files of SCHEMA_REGISTRY_SSL_CAFILE",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ConsumerSettings(**settings)


def test_a_format_needs_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.config.extras.find_spec", lambda name: None if name == "fastavro" else object())
    with pytest.raises(ValidationError, match="KAFKA_METER_FORMAT=auto needs the extra `formats`"):
        ConsumerSettings(kafka_meter_format="auto", schema_registry_url="http://localhost:8081")
