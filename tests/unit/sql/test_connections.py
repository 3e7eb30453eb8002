"""One module opens connections, so that no session misses the settings that its statements rely on."""

import ast

from tests.support.repository import ROOT

ROOMS = ("api", "consumer", "sql")
OPENING = {"connect", "create_pool", "Connection", "Pool"}


def test_only_sql_connection_opens_connections() -> None:
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    opening = {
        file.relative_to(ROOT).as_posix()
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"asyncpg.{name}" for name in OPENING}
    }
    assert opening == {"sql/connection.py"}
