"""What the start of a process does without, because it takes time at each start."""

from pathlib import Path

import aiosql.query_loader

from sql import queries


def test_no_query_has_a_comment_that_is_not_looked_for() -> None:
    assert aiosql.query_loader._remove_ml_comments("/* */") == "/* */"
    files = list((Path(queries.__file__).parent / "queries").glob("*.sql"))
    assert files
    assert [each.name for each in files if "/*" in each.read_text()] == []
