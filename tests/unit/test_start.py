"""What the start of a process does without, because it takes time at each start."""

import subprocess
import sys
from pathlib import Path

from sql import queries
from tests.support.repository import ROOT

STARTS = "import sys, sql.__main__, consumer.__main__, api.__main__; print('rich' in sys.modules); import rich"


def test_no_process_imports_rich() -> None:
    done = subprocess.run([sys.executable, "-c", STARTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_no_query_has_a_comment_that_is_not_looked_for() -> None:
    files = list((Path(queries.__file__).parent / "queries").glob("*.sql"))
    assert files
    assert [each.name for each in files if "/*" in each.read_text()] == []
