"""Results of measures and the medians of their runs."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median, quantiles
from typing import Literal

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, printed as a line of JSON. `ratio` compares it with another figure of the same run."""

    measure: str
    value: float
    unit: str
    ratio: float | None = None
    run: int | Literal["median"] = "median"
    details: dict[str, float] = msgspec.field(default_factory=dict)


def with_medians(results: Iterable[Result]) -> Iterator[Result]:
    """Each result as it arrives, then for each measure the median of its values, ratios and details."""
    by_measure: dict[str, list[Result]] = {}
    for result in results:
        by_measure.setdefault(result.measure, []).append(result)
        yield result
    yield from map(_median_result, by_measure.values())


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1000, cuts[98] * 1000


def _median_result(results: list[Result]) -> Result:
    values = [each.value for each in results]
    ratios = [each.ratio for each in results if each.ratio is not None]
    details = {name: _median([each.details[name] for each in results]) for name in results[-1].details}
    details |= {"lowest": min(values), "highest": max(values), "runs": len(results)}
    if ratios:
        details |= {"lowest_ratio": min(ratios), "highest_ratio": max(ratios)}
    return msgspec.structs.replace(
        results[-1], run="median", value=_median(values), ratio=_median(ratios) if ratios else None, details=details
    )


def _median(values: Sequence[float]) -> float:
    return round(median(values), 4)
