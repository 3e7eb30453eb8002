"""`python -m tests.fuzz.decoder SECONDS`: the decoders of records under a coverage-guided fuzzer.

Whatever the bytes: nothing is raised but what the decoders say they raise, every refusal has a reason, and what is accepted
is the same again when it is written and read once more.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

try:
    import atheris
except ImportError:
    sys.stderr.write("atheris has no package for this Python or machine (CPython 3.11 to 3.13, Linux, x86_64)\n")
    sys.exit(1)

with atheris.instrument_imports(include=["schemas", "consumer"]):
    from consumer.kind import Kind
    from consumer.kinds import METER, VEHICLE, assignments_of, registers
    from schemas.readings import Reason, TimeLimits

from datetime import UTC, datetime

from tests.contracts.asyncapi import TOPICS

KINDS: Final[tuple[Kind, ...]] = (METER, VEHICLE, registers(jitter_kwh=1.0), assignments_of("assignments"))
LIMITS: Final = TimeLimits.at(datetime(2026, 6, 1, tzinfo=UTC), 400)
encode: Final[Callable[[Any], bytes]] = msgspec.json.encode


def check(data: bytes) -> None:
    """All kinds of record against the same bytes."""
    for kind in KINDS:
        try:
            decoded = kind.decode(data)
        except (ValueError, RecursionError):
            verdict = kind.refusal(data, kind.limits or LIMITS)
            assert verdict.reason in Reason
            assert str(verdict)
        else:
            assert kind.decode(encode(decoded)) == decoded


def main() -> None:
    """Run for so many seconds; a finding ends it with exit code 77 and its bytes on stderr."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with tempfile.TemporaryDirectory() as corpus:
        for name, topic in TOPICS.items():
            (Path(corpus) / name).write_bytes(encode(topic[-1]))
        limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=5", "-seed=20261126", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], corpus, f"-artifact_prefix={corpus}/", *limits], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
