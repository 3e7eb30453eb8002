"""The code keeps the rules of tests/structure/rules.py, and every rule can fail."""

from pathlib import Path

import pytest

from tests.structure.graph import longest_chain
from tests.structure.rules import MOST_LINES, MOST_MODULES, ROOMS, RULES
from tests.structure.source import Module, read_modules
from tests.support.repository import ROOT

FORBIDDEN_IMPORTS = "imports of a room against the rules"
FORBIDDEN_LIBRARIES = "imports of a library against the rules"
FORBIDDEN_PRIVATE_ATTRIBUTES = "private attributes against the rules"
OUTSIDE_ROOMS = "modules outside the rooms"
CYCLES = "import cycles"
CROWDED_FOLDERS = f"folders with more than {MOST_MODULES} modules"
LONG_FUNCTIONS = f"functions above {MOST_LINES} lines"


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return read_modules(ROOT)


@pytest.mark.parametrize("rule", RULES)
def test_the_code_keeps_the_rule(modules: dict[str, Module], rule: str) -> None:
    assert list(RULES[rule](modules.values())) == []


def test_every_room_of_the_table_exists(modules: dict[str, Module]) -> None:
    named = {room for allowed in ROOMS.values() for room in allowed.split()} | set(ROOMS)
    assert named - set(modules) == set()


def breaches(tree: Path, rule: str, sources: dict[str, str]) -> list[str]:
    """The breaches of a rule in a tree of these files."""
    for name, source in sources.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(source)
    return list(RULES[rule](read_modules(tree).values()))


@pytest.mark.parametrize(
    ("file", "source", "breach"),
    [
        ("schemas/records/alerts.py", "import sql.queries", "schemas.records.alerts imports sql.queries"),
        ("sql/analytics/trend.py", "from sql import connection", "sql.analytics.trend imports sql.connection"),
        (
            "consumer/records/row_buffer.py",
            "import consumer.kafka.client",
            "consumer.records.row_buffer imports consumer.kafka.client",
        ),
        ("consumer/storage/store.py", "from ..pipeline import x", "consumer.storage.store imports consumer.pipeline"),
        (
            "consumer/lag/reporter.py",
            "def f():\n    if 1:\n        import api.app",
            "consumer.lag.reporter imports api.app",
        ),
        ("api/auth/access.py", "from api.routes.fleet import x", "api.auth.access imports api.routes.fleet"),
        (
            "tests/faults/oracle/decode.py",
            "from schemas.records import readings",
            "tests.faults.oracle.decode imports schemas.records",
        ),
        ("api/app.py", "from api import fleet\nfrom schemas.config import version", None),
        ("deploy/stack/kafka.py", "from tests.support import x", "deploy.stack.kafka imports tests.support"),
    ],
)
def test_a_forbidden_import_is_found_wherever_it_stands(
    tmp_path: Path, file: str, source: str, breach: str | None
) -> None:
    found = breaches(tmp_path, FORBIDDEN_IMPORTS, {"sql/connection.py": "", file: source})
    assert found == ([breach] if breach else [])


@pytest.mark.parametrize(
    ("file", "source", "breach"),
    [
        ("schemas/config/logging.py", "import asyncpg.pool", "schemas.config.logging imports asyncpg.pool"),
        ("sql/analytics/trend.py", "import asyncpg", "sql.analytics.trend imports asyncpg"),
        ("sql/doctor/checks.py", "from fastapi.sse import x", "sql.doctor.checks imports fastapi.sse"),
        (
            "consumer/records/row_buffer.py",
            "import aiokafka.consumer",
            "consumer.records.row_buffer imports aiokafka.consumer",
        ),
        ("consumer/records/row_buffer.py", "from aiokafka import TopicPartition", None),
        ("consumer/kafka/client.py", "import aiokafka.consumer", None),
    ],
)
def test_a_forbidden_library_is_found(tmp_path: Path, file: str, source: str, breach: str | None) -> None:
    assert breaches(tmp_path, FORBIDDEN_LIBRARIES, {file: source}) == ([breach] if breach else [])


def test_private_attributes_of_the_kafka_client_are_used_in_one_room_alone(tmp_path: Path) -> None:
    source = "def f(self, row):\n    self._rows = row._replace(a=1)\n    return self.consumer._coordinator"
    files = {"consumer/pipeline/poll_loop.py": source, "consumer/kafka/client.py": source}
    assert breaches(tmp_path, FORBIDDEN_PRIVATE_ATTRIBUTES, files) == [
        "consumer.pipeline.poll_loop uses self.consumer._coordinator"
    ]


def test_a_module_outside_the_rooms_is_found(tmp_path: Path) -> None:
    files = {"consumer/utils.py": "", "api/__init__.py": "import api.app", "sql/__init__.py": ""}
    assert breaches(tmp_path, OUTSIDE_ROOMS, files) == ["consumer.utils", "api"]


def test_a_cycle_is_found_through_imports_inside_functions(tmp_path: Path) -> None:
    files = {
        "sql/archive/a.py": "import sql.archive.b",
        "sql/archive/b.py": "def f():\n    from sql.archive import c",
        "sql/archive/c.py": "from sql.archive.a import x",
        "sql/archive/d.py": "import sql.archive.a",
    }
    assert breaches(tmp_path, CYCLES, files) == ["sql.archive.a <-> sql.archive.b <-> sql.archive.c"]


def test_a_crowded_folder_is_found_among_the_tests_too(tmp_path: Path) -> None:
    full = {f"tests/unit/test_{number}.py": "" for number in range(MOST_MODULES)} | {"tests/unit/__init__.py": ""}
    assert breaches(tmp_path, CROWDED_FOLDERS, full) == []
    assert breaches(tmp_path, CROWDED_FOLDERS, {"tests/unit/test_more.py": ""}) == ["tests/unit has 16 modules"]


def test_a_long_function_is_found(tmp_path: Path) -> None:
    longest = "def f():\n" + "    pass\n" * (MOST_LINES - 1)
    assert breaches(tmp_path, LONG_FUNCTIONS, {"api/app.py": longest}) == []
    assert breaches(tmp_path, LONG_FUNCTIONS, {"api/app.py": f"{longest}    pass"}) == ["api.app.f has 41 lines"]


def test_the_longest_chain_counts_a_cycle_as_one_step() -> None:
    graph = {"a": frozenset("bc"), "b": frozenset("d"), "c": frozenset(), "d": frozenset("be"), "e": frozenset()}
    assert longest_chain(graph) == ["a", "b = d", "e"]
