"""The client of a schema registry that speaks Confluent's API: a schema by its id, and the newest one of a subject."""

from typing import Annotated, Final
from urllib.parse import quote

import httpx
import msgspec

from consumer.formats.errors import RegistryUnavailableError, SchemaNotFoundError
from consumer.formats.framing import ID_MAGIC, schema_name
from consumer.settings import ConsumerSettings

TIMEOUT_SECONDS: Final = 5.0
MOST_REFERENCES: Final = 100  # of one schema, those of its references included
NOT_FOUND_CODES: Final = range(40400, 40500)  # what a registry answers in the body; a proxy's 404 has no such code
NOT_FOUND: Final = 404
AVRO: Final = "AVRO"


class RegisteredSchema(msgspec.Struct, frozen=True):
    """A schema: `type` is AVRO, PROTOBUF or JSON; `references` are the texts of what an Avro schema refers to, each after
    its own."""

    type: str
    text: str
    references: tuple[str, ...] = ()


class _Reference(msgspec.Struct):
    subject: str
    version: int


class _Answer(msgspec.Struct, rename="camel"):
    schema: str
    schema_type: str = AVRO  # left out by registries for Avro
    references: list[_Reference] = []
    id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] | None = None


class _Error(msgspec.Struct):
    error_code: int = 0
    message: str = ""


class SchemaRegistry:
    """The registry that the settings name; its several URLs are tried in their order."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self._urls = [url.strip().rstrip("/") for url in settings.schema_registry_url.split(",")]
        password = settings.schema_registry_password
        self._client = httpx.AsyncClient(
            auth=httpx.BasicAuth(settings.schema_registry_username, password.get_secret_value() if password else "")
            if settings.schema_registry_username
            else None,
            verify=settings.schema_registry_ssl_context(),
            timeout=TIMEOUT_SECONDS,
            headers={"Accept": "application/vnd.schemaregistry.v1+json, application/json"},
            trust_env=False,  # a proxy of the environment is meant for other hosts
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def schema(self, key: bytes) -> RegisteredSchema:
        """The schema of a key (framing.py).

        Raises:
            RegistryUnavailableError: no answer.
            SchemaNotFoundError: the registry does not have it.
        """
        kind = "ids" if key[0] == ID_MAGIC else "guids"
        return await self._with_references(await self._get(f"/schemas/{kind}/{schema_name(key)}"))

    async def newest_id(self, subject: str) -> int | None:
        """The id of the newest schema of a subject.

        Raises:
            RegistryUnavailableError: no answer.
            SchemaNotFoundError: the registry does not have the subject.
        """
        return (await self._get(f"/subjects/{quote(subject, safe='')}/versions/latest")).id

    async def _with_references(self, answer: _Answer) -> RegisteredSchema:
        """The schema, with the texts of its references where they are needed to read it."""
        texts: list[str] = []
        if answer.schema_type == AVRO:
            await self._collect(answer, texts, set())
        return RegisteredSchema(answer.schema_type, answer.schema, tuple(texts))

    async def _collect(self, answer: _Answer, texts: list[str], seen: set[tuple[str, int]]) -> None:
        """Add the texts of all references, in an order in which each comes after those that it refers to."""
        for each in answer.references:
            if (each.subject, each.version) in seen:
                continue
            seen.add((each.subject, each.version))
            if len(seen) > MOST_REFERENCES:
                raise SchemaNotFoundError(f"the schema refers to more than {MOST_REFERENCES} others")
            referred = await self._get(f"/subjects/{quote(each.subject, safe='')}/versions/{each.version}")
            await self._collect(referred, texts, seen)
            texts.append(referred.schema)

    async def _get(self, path: str) -> _Answer:
        problems = []
        for url in self._urls:
            try:
                response = await self._client.get(url + path)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                problems.append(f"{url} does not answer: {str(error) or type(error).__name__}")
                continue
            if response.is_success:
                try:
                    return msgspec.json.decode(response.content, type=_Answer)
                except msgspec.DecodeError as error:
                    problems.append(f"{url}{path} is not a schema: {error}")
                    continue
            problem = _error(response)
            if response.status_code == NOT_FOUND and problem.error_code in NOT_FOUND_CODES:
                raise SchemaNotFoundError(problem.message or "not found")
            problems.append(f"{url}{path} answers {response.status_code}{_hint(response, problem)}")
        raise RegistryUnavailableError("; ".join(problems))


def _error(response: httpx.Response) -> _Error:
    try:
        return msgspec.json.decode(response.content, type=_Error)
    except msgspec.DecodeError:
        return _Error()


def _hint(response: httpx.Response, problem: _Error) -> str:
    if response.status_code in {401, 403}:
        return ": see SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD"
    if response.status_code == NOT_FOUND:
        return " without a registry's error code: see SCHEMA_REGISTRY_URL, or it does not know GUIDs"
    return f": {problem.message}" if problem.message else ""
