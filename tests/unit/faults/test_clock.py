"""The wrong clock of the fault matrix: without it, the scenarios with clocks would attack nothing."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.faults.clock import ShiftedClock, shifted_clock

TELL_THE_TIME = """
import sys, time
from datetime import UTC, datetime
import msgspec
for _ in sys.stdin:
    shown = datetime.now(UTC)
    assert type(shown) is datetime and msgspec.convert(shown.isoformat(), datetime) == shown
    print(shown.timestamp(), datetime.now().timestamp(), time.time(), time.time_ns() / 1e9, flush=True)
    time.sleep(0.02)
"""


def test_every_clock_of_a_process_is_shifted_while_it_runs(tmp_path: Path) -> None:
    clock = shifted_clock(tmp_path, timedelta(days=800))
    with _process(clock) as process:
        assert all(timedelta(days=799) < each < timedelta(days=801) for each in _ahead(process))
        clock.move(timedelta(minutes=-10))
        assert all(timedelta(minutes=-11) < each < timedelta(minutes=-9) for each in _ahead(process))
        clock.move(timedelta())
        assert all(abs(each) < timedelta(minutes=1) for each in _ahead(process))


def _process(clock: ShiftedClock) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", TELL_THE_TIME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | clock.settings,
    )


def _ahead(process: "subprocess.Popen[str]") -> list[timedelta]:
    """How far each of its clocks is ahead of ours."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("now\n")
    process.stdin.flush()
    shown = [datetime.fromtimestamp(float(each), UTC) for each in process.stdout.readline().split()]
    assert len(shown) == 4
    return [each - datetime.now(UTC) for each in shown]
