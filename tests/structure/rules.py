"""The rules of the structure, as data: the one place that says which room may import which.

A room is a folder or a single module. It may import itself and the rooms listed after its name, and nothing else of the
repository. A name covers everything below it: `schemas` allows `schemas.records.readings`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.structure.graph import cycles
from tests.structure.source import PACKAGES, Module, modules_by_folder

MOST_MODULES: Final = 15  # in a folder
MOST_LINES: Final = 40  # in a function

PRODUCT: Final = "api consumer deploy schemas sql"

# room -> rooms it may import
ROOMS: Final[Mapping[str, str]] = {
    # schemas: the contract
    "schemas.records": "",
    "schemas.config": "schemas.identity",
    "schemas.identity": "",
    "schemas.responses": "",
    "schemas.tracing": "schemas.config",
    # sql: the database
    "sql.queries": "",
    "sql.analytics": "schemas",
    "sql.settings": "schemas",
    "sql.slow_statements": "sql.queries",
    "sql.connection": "sql.slow_statements",
    "sql.clocks": "sql.queries",
    "sql.partitions": "sql.clocks sql.queries",
    "sql.assign": "schemas sql.queries",
    "sql.migrate": "sql.connection sql.partitions sql.queries sql.settings",
    "sql.archive": "sql.queries",
    "sql.cells": "sql.connection sql.partitions sql.queries",
    "sql.doctor": "sql.clocks sql.connection sql.partitions sql.queries sql.settings",
    "sql.maintenance": "schemas sql.analytics sql.archive sql.clocks sql.connection sql.partitions sql.queries sql.settings "
    "sql.slow_statements",
    "sql.commands": "schemas sql.archive sql.cells sql.connection sql.doctor sql.migrate sql.queries sql.settings",
    "sql.__main__": "schemas sql",
    # consumer: Kafka to PostgreSQL
    "consumer.settings": "schemas",
    "consumer.retry": "",
    "consumer.gc_schedule": "",
    "consumer.records": "schemas",
    "consumer.formats": "consumer.records consumer.settings schemas",
    "consumer.monitoring": "consumer.records schemas",
    "consumer.storage": "consumer.records schemas sql.connection sql.queries",
    "consumer.topic_registry": "consumer.records consumer.settings consumer.storage schemas sql.queries",
    "consumer.kafka": "consumer.retry consumer.monitoring consumer.records consumer.settings schemas.config.settings "
    "schemas.tracing.tracer",
    "consumer.pipeline": "consumer.retry consumer.formats consumer.kafka consumer.monitoring consumer.records consumer.settings "
    "consumer.storage schemas sql.connection sql.queries",
    "consumer.lag": "consumer.kafka consumer.monitoring consumer.pipeline consumer.records consumer.settings sql.connection "
    "sql.queries",
    "consumer.alert_relay": "consumer.monitoring consumer.settings sql.connection sql.queries",
    "consumer.commands": "consumer.retry consumer.formats consumer.kafka consumer.records consumer.settings consumer.storage "
    "consumer.topic_registry schemas sql.connection sql.queries",
    "consumer.service": "consumer schemas sql.connection sql.queries",
    "consumer.__main__": "consumer schemas sql.connection sql.queries",
    # api: read service, web page, HTTP ingestion
    "api.settings": "schemas",
    "api.metrics": "schemas",
    "api.static_files": "",
    "api.problems": "schemas sql.connection",
    "api.auth": "api.problems schemas",
    "api.database": "api.metrics api.problems api.settings sql.connection sql.queries",
    "api.archive": "api.database api.problems sql.archive sql.queries",
    "api.cells": "api.archive api.database api.metrics api.problems api.settings sql.connection sql.queries",
    "api.fleet": "api.problems schemas sql.analytics sql.queries",
    "api.middleware": "api.auth api.database api.metrics api.problems schemas.config.transports schemas.tracing.tracer",
    "api.server": "api.middleware.security_headers api.problems api.settings",
    "api.ingestion": "api.auth api.problems api.settings schemas",
    "api.openapi": "api.auth api.middleware.data_source api.problems schemas",
    "api.routes": "api.archive api.auth api.cells api.database api.fleet api.ingestion api.metrics api.middleware api.openapi "
    "api.problems api.settings api.static_files schemas sql.analytics sql.connection sql.queries",
    "api.commands": "api.auth api.settings schemas",
    "api.app": "api schemas sql.analytics sql.connection sql.queries",
    "api.__main__": "api schemas sql.analytics sql.connection sql.queries",
    # deploy: everything that runs the system somewhere
    "deploy.audit": "",
    "deploy.compose": "",
    "deploy.sbom": "",
    "deploy.containers": "deploy.compose deploy.stack",
    "deploy.sizing": "",
    "deploy.stack": "schemas consumer.kafka.topics",
    "deploy.simulator": "schemas",
    "deploy.schema": "deploy.stack sql",
    "deploy.demo": "deploy.simulator deploy.stack schemas sql",
    # tests: what they share imports no test
    "tests.structure": "tests.support.repository",
    "tests.support": PRODUCT,
    "tests.tls": f"{PRODUCT} tests.support",
    "tests.contracts": f"{PRODUCT} tests.support",
    "tests.fuzz": f"{PRODUCT} tests.contracts tests.support",
    "tests.bench": f"{PRODUCT} tests.support",
    "tests.faults": f"{PRODUCT} tests.bench tests.support",
    "tests.faults.oracle": "",  # what it compares the system with must not be computed by the system's code
    "tests.recipes": f"{PRODUCT} tests.support",
    "tests.simulation": PRODUCT,
    "tests.kubernetes": f"{PRODUCT} tests.support tests.tls",
    "tests.conftest": f"{PRODUCT} tests.support",
    "tests.unit": f"{PRODUCT} tests.bench tests.contracts tests.faults tests.fuzz tests.simulation tests.structure tests.support "
    "tests.tls",
    "tests.integration": f"{PRODUCT} tests.bench tests.contracts tests.faults tests.fuzz tests.simulation tests.support "
    "tests.tls",
    "tests.acceptance": f"{PRODUCT} tests.faults tests.support",
}

# library -> rooms that may import it. The longest matching name decides; libraries without a row are not restricted.
LIBRARIES: Final[Mapping[str, str]] = {
    "fastapi": "api tests",
    "starlette": "api tests",
    "opentelemetry": "schemas.tracing.opentelemetry_tracer tests",
    "uvicorn": "api.__main__ api.server tests",
    "httptools": "api.server tests",
    "aiosql": "sql.queries",
    "pyarrow": "sql.archive tests",
    "antlr4": "consumer.formats.protobuf",
    "fastavro": "consumer.formats.avro tests",
    "google.protobuf": "consumer.formats tests",
    "httpx": "consumer.formats.registry deploy schemas.identity.sources tests",
    "proto_schema_parser": "consumer.formats.protobuf tests",
    "asyncpg": "api.app api.database api.problems consumer.alert_relay consumer.commands consumer.lag consumer.pipeline "
    "consumer.service consumer.storage consumer.__main__ deploy sql.archive sql.assign sql.cells sql.commands sql.connection "
    "sql.doctor sql.maintenance sql.migrate sql.partitions sql.slow_statements sql.__main__ tests",
    "aiokafka": "api.ingestion consumer deploy schemas.config.aiokafka_patches schemas.identity tests",
    # Undocumented modules of aiokafka, which only the room of the client may depend on.
    "aiokafka.client": "consumer.kafka tests",
    "aiokafka.cluster": "consumer.kafka tests",
    "aiokafka.consumer": "consumer.kafka tests",
    "aiokafka.coordinator": "consumer.kafka tests.bench.programs.group_member",
    "aiokafka.coordinator.protocol": "consumer.kafka tests",  # decodes the members of a group
    "aiokafka.producer": "api.ingestion tests",
}

# Rooms that may use private attributes of other objects, where a library has no public way; tests are not restricted.
PRIVATE_ATTRIBUTES: Final = (
    "consumer.kafka",
    "api.ingestion.producer",
    "deploy.stack.postgres",
    "schemas.identity.sessions",
    "sql.queries",
    "tests",
)


def room_of(module: str) -> str | None:
    """The room of a module; None when the table does not cover it."""
    return max((room for room in ROOMS if _covers(room, module)), key=len, default=None)


def forbidden_imports(modules: Iterable[Module]) -> Iterator[str]:
    """Imports of a room that the table does not allow. Modules without a room are reported by `modules_outside_rooms`."""
    for module in modules:
        room = room_of(module.name)
        if room is not None:
            allowed = [room, *ROOMS[room].split()]
            for target in sorted(module.imports):
                if not any(_covers(each, target) for each in allowed):
                    yield f"{module.name} imports {target}"


def forbidden_libraries(modules: Iterable[Module]) -> Iterator[str]:
    """Imports of a library outside the rooms that may know it."""
    for module in modules:
        for library in sorted(module.libraries):
            rule = max((each for each in LIBRARIES if _covers(each, library)), key=len, default=None)
            if rule and not any(_covers(room, module.name) for room in LIBRARIES[rule].split()):
                yield f"{module.name} imports {library}"


def forbidden_private_attributes(modules: Iterable[Module]) -> Iterator[str]:
    for module in modules:
        if not any(_covers(room, module.name) for room in PRIVATE_ATTRIBUTES):
            yield from (f"{module.name} uses {each}" for each in module.private_accesses)


def modules_outside_rooms(modules: Iterable[Module]) -> Iterator[str]:
    """Modules without a room. The `__init__.py` of a package needs none as long as it imports nothing of the repository."""
    for module in modules:
        if room_of(module.name) is None and (module.imports or module.name not in PACKAGES):
            yield module.name


def import_cycles(modules: Iterable[Module]) -> Iterator[str]:
    for cycle in cycles({module.name: module.imports for module in modules}):
        yield " <-> ".join(cycle)


def crowded_folders(modules: Iterable[Module]) -> Iterator[str]:
    for folder, count in sorted(modules_by_folder(modules).items()):
        if count > MOST_MODULES:
            yield f"{folder} has {count} modules"


def long_functions(modules: Iterable[Module]) -> Iterator[str]:
    for module in modules:
        for function in module.functions:
            if function.lines > MOST_LINES:
                yield f"{module.name}.{function.name} has {function.lines} lines"


RULES: Final = {
    "import cycles": import_cycles,
    f"folders with more than {MOST_MODULES} modules": crowded_folders,
    f"functions above {MOST_LINES} lines": long_functions,
    "modules outside the rooms": modules_outside_rooms,
    "imports of a room against the rules": forbidden_imports,
    "imports of a library against the rules": forbidden_libraries,
    "private attributes against the rules": forbidden_private_attributes,
}


def _covers(name: str, module: str) -> bool:
    return module == name or module.startswith(f"{name}.")
