"""Reports as a Markdown table."""

from collections.abc import Iterable, Sequence
from typing import Final

from tests.faults.scenario import Report

COLUMNS: Final = (
    "scenario", "attacks promise", "rounds", "acknowledged", "lost", "duplicated", "fenced", "longest stall (s)", "took (s)",
    "as promised",
)  # fmt: skip


def markdown(reports: Iterable[Report]) -> str:
    rule = [" --- " if name in {"scenario", "as promised"} else " ---: " for name in COLUMNS]
    return "\n".join(map(_line, [COLUMNS, rule, *map(_cells, reports)])) + "\n"


def _cells(report: Report) -> list[object]:
    name = f"{report.scenario} (negative control)" if report.negative_control else report.scenario
    findings = "; ".join(finding.splitlines()[0] for finding in report.findings)
    return [
        name,
        report.promise,
        report.rounds,
        f"{report.acknowledged:,}",
        report.lost,
        report.duplicated,
        report.fenced,
        report.longest_stall_seconds,
        report.seconds,
        "yes" if report.as_promised else f"NO: {findings}",
    ]


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
