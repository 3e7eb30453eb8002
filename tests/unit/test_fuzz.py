"""The decoders under the coverage-guided fuzzer, for a short time; `make fuzz` does it at length."""

import re
import subprocess
import sys

import pytest

from tests.support.repository import ROOT


def test_no_bytes_make_the_decoders_raise_or_change_what_they_accept() -> None:
    pytest.importorskip("atheris", reason="atheris has packages for CPython 3.11 to 3.13 on Linux x86_64 alone")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.decoder", "15"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    found = re.search(r"stat::number_of_executed_units:\s+(\d+)", ran.stderr)
    assert found
    assert int(found[1]) > 1000, ran.stderr[-2000:]
