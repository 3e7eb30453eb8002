"""The rooms know only what they may: the import rules of the design."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "schemas": {"aiokafka", "asyncpg", "fastapi", "starlette", "sql", "consumer", "api", "deploy", "tests"},
    "sql": {"aiokafka", "fastapi", "starlette", "consumer", "api", "deploy", "tests"},
    "consumer": {"fastapi", "starlette", "uvicorn", "api", "deploy", "tests"},
    "api": {"consumer", "deploy", "tests"},
    "deploy": {"consumer", "api", "tests"},
}


def imported(source: str) -> Iterator[str]:
    """The top names of everything a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the room they come from"
            yield str(node.module).split(".")[0]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_nothing_it_must_not_know(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    trespasses = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file.read_text())
        if name in FORBIDDEN[room]
    }
    assert trespasses == set()


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import asyncpg.pool\ndef f():\n    if 1:\n        from fastapi.sse import x\n"
    assert set(imported(source)) == {"asyncpg", "fastapi"}
