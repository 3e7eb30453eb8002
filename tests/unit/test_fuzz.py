"""The decoders under the coverage-guided fuzzer for a few seconds; `make fuzz` runs it for long."""

import re
import subprocess
import sys

import pytest

from tests.support.repository import ROOT


def test_the_decoders_survive_fuzzing() -> None:
    pytest.importorskip("atheris", reason="atheris has packages for CPython 3.11 to 3.13 on Linux x86_64 alone")
    fuzzer = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.decoder", "15"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert fuzzer.returncode == 0, fuzzer.stderr[-4000:]
    executed = re.search(r"stat::number_of_executed_units:\s+(\d+)", fuzzer.stderr)
    assert executed
    assert int(executed[1]) > 1000, fuzzer.stderr[-2000:]
