"""Reports as a table for people."""

from collections.abc import Iterable
from typing import Final

from tests.faults.scenario import Report

HEADER: Final = "| scenario | attacks promise | rounds | acknowledged | lost | duplicated | fenced | longest stall (s) | took (s) | as promised |"


def markdown(reports: Iterable[Report]) -> str:
    """A Markdown table, one line a scenario."""
    rule = "|---|---" + "|---:" * (HEADER.count("|") - 4) + "|---|"
    return "\n".join([HEADER, rule, *map(_line, reports)]) + "\n"


def _line(report: Report) -> str:
    name = f"{report.scenario} (negative control)" if report.negative_control else report.scenario
    findings = "; ".join(finding.splitlines()[0] for finding in report.findings)
    verdict = "yes" if report.as_promised else f"NO: {findings}"
    figures = (report.promise, report.rounds, f"{report.acknowledged:,}", report.lost, report.duplicated, report.fenced,
               report.longest_stall_seconds, report.seconds)  # fmt: skip
    return f"| {name} | {' | '.join(map(str, figures))} | {verdict} |"
